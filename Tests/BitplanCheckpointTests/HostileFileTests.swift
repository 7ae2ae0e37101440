import BitplanCheckpoint
import BitplanCore
import BitplanTestSupport
import Foundation
import Testing

/// Files that are broken, by accident or on purpose: each must be an error that says what is wrong.
///
/// A new case is one line: what it is, the file's text or bytes, and words the message must hold.
struct HostileFileTests {
  /// A case; `words` must all be in the error's text.
  struct Case: Sendable, CustomTestStringConvertible {
    let name: String
    let files: [String: [UInt8]]
    let words: [String]
    var testDescription: String { name }

    init(_ name: String, _ files: [String: [UInt8]], _ words: String...) {
      self.init(name, files, words: words)
    }

    init(_ name: String, _ files: [String: [UInt8]], words: [String]) {
      self.name = name
      self.files = files
      self.words = words
    }
  }

  private func check(_ test: Case, _ load: (_ folder: String) throws -> Void) throws {
    let folder = try TemporaryFolder()
    try TinyCheckpoint.write(folder: folder.url, files: test.files)
    let error = #expect(throws: CheckpointError.self) { try load(folder.path()) }
    let text = error?.description ?? "no error"
    for word in test.words { #expect(text.contains(word), Comment(rawValue: text)) }
    // One or two sentences for a person, never a dump of the file.
    #expect(text.utf8.count < 1000 && text.hasSuffix("."), Comment(rawValue: text))
  }

  // MARK: safetensors

  /// A file with this header and `count` bytes of data.
  private static func header(
    _ name: String, _ header: String, data count: Int = 0, length: UInt64? = nil, _ words: String...
  ) -> Case {
    let bytes = TinyCheckpoint.file(
      header: header, data: Array(repeating: 0, count: count), headerLength: length)
    return Case(name, ["model.safetensors": bytes], words: words)
  }

  static let f32 = #""dtype":"F32","shape":[1],"data_offsets":[0,4]"#

  // One case a line.
  // swift-format-ignore
  static let safetensors: [Case] = [
    Case("empty file", ["model.safetensors": []], "is empty"),
    Case("three bytes", ["model.safetensors": [1, 2, 3]], "3 bytes", "header length"),
    Case("zip", ["model.safetensors": [0x50, 0x4B, 3, 4, 0, 0, 0, 0, 0]], "PyTorch", "Convert"),
    Case("gguf", ["model.safetensors": Array("GGUF\u{3}\0\0\0\0".utf8)], "GGUF"),
    Case("git lfs", ["model.safetensors": Array("version https://git-lfs.x".utf8)], "Git LFS"),
    header("length beyond the file", "{}", length: 999, "cut short", "1007", "10"),
    header("length beyond the limit", "{}", length: 100_000_001, "100000001", "100000000"),
    header("length 2^63", "{}", length: 1 << 63, "9223372036854775808"),
    header("length all ones", "{}", length: .max, "18446744073709551615"),
    header("length zero", "{}", length: 0, "must be '{'"),
    header("length too small", #"{"w":{\#(f32)}}"#, data: 4, length: 5, "broken header", "byte"),
    header("not JSON", "{nonsense}", "broken header", "byte 9"),
    header("an array", "[]", "must be '{'"),
    header("a number", "1", "must be '{'"),
    header("starts with a space", " {}", "must be '{'"),
    header("text after the header", "{} x", "text after the end"),
    header("unclosed", #"{"w":{"#, "a key in quotes"),
    header("deep nesting", #"{"w":"# + String(repeating: "[", count: 100_000), "levels of nesting"),
    header("a tensor twice", #"{"w":{\#(f32)},"w":{\#(f32)}}"#, data: 4, "'w' appears twice"),
    header("a tensor twice, escaped", #"{"w":{\#(f32)},"\u0077":{\#(f32)}}"#, data: 4, "twice"),
    header("a key twice", #"{"w":{\#(f32),"dtype":"U8"}}"#, data: 4, "'dtype' appears twice"),
    header("an empty name", #"{"":{\#(f32)}}"#, data: 4, "empty name"),
    header("no dtype", #"{"w":{"shape":[1],"data_offsets":[0,4]}}"#, data: 4, "'w.dtype' is missing"),
    header("no shape", #"{"w":{"dtype":"F32","data_offsets":[0,4]}}"#, data: 4, "'w.shape'"),
    header("no offsets", #"{"w":{"dtype":"F32","shape":[1]}}"#, data: 4, "'w.data_offsets'"),
    header("a tensor that is a list", #"{"w":[1]}"#, "'w' must be an object"),
    header("dtype a number", #"{"w":{"dtype":7,"shape":[1],"data_offsets":[0,4]}}"#, "a string"),
    header("negative size", #"{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, data: 4, "shape[0]", "-1"),
    header("half a size", #"{"w":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}"#, data: 4, "1.5"),
    header("size overflow", #"{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#, data: 4, "impossible shape"),
    header("byte overflow", #"{"w":{"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,4]}}"#, data: 4, "impossible shape"),
    header("size beyond 64 bits", #"{"w":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}}"#, data: 4, "shape[0]"),
    header("half a byte", #"{"w":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}"#, data: 2, "impossible shape"),
    header("three offsets", #"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}"#, data: 1, "3 data_offsets"),
    header("negative offset", #"{"w":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}}"#, data: 1, "at least 0"),
    header("ends before it begins", #"{"w":{"dtype":"U8","shape":[0],"data_offsets":[4,2]}}"#, data: 4, "ends before"),
    header("beyond the file", #"{"w":{\#(f32)}}"#, data: 3, "ends at byte 4", "has 3", "cut short"),
    header("huge offset", #"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,9223372036854775807]}}"#, data: 1, "9223372036854775807"),
    header("wrong size", #"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, data: 4, "takes 4", "need 8"),
    header("overlap", #"{"a":{\#(f32)},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#, data: 6, "'a' and 'b' overlap"),
    header("the same bytes", #"{"a":{\#(f32)},"b":{\#(f32)}}"#, data: 4, "overlap"),
    header("a hole", #"{"a":{\#(f32)},"b":{"dtype":"U8","shape":[1],"data_offsets":[6,7]}}"#, data: 7, "hole of 2 bytes", "'b'"),
    header("a hole at the start", #"{"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#, data: 2, "hole of 1 bytes"),
    header("trailing data", #"{"w":{\#(f32)}}"#, data: 5, "1 trailing bytes"),
    header("data without tensors", "{}", data: 9, "9 trailing bytes"),
    header("metadata not strings", #"{"__metadata__":{"a":1}}"#, "'__metadata__.a'", "a string"),
    header("metadata a list", #"{"__metadata__":[]}"#, "'__metadata__' must be an object"),
    header("an unknown escape", #"{"\x":{\#(f32)}}"#, data: 4, "unknown escape"),
    header("half a surrogate", #"{"\ud800":{\#(f32)}}"#, data: 4, "surrogate"),
    header("a terminal escape in a name", "{\"\\u001b[2J\":{}}", "\\u{1b}", "is missing"),
    header("a long name", #"{"\#(String(repeating: "n", count: 100_000))":{}}"#, "…", "is missing"),
    Case("bad UTF-8", ["model.safetensors": [6, 0, 0, 0, 0, 0, 0, 0] + Array("{\"".utf8) + [0xFF] + Array("\":1".utf8)], "UTF-8"),
    Case("no checkpoint in the folder", ["readme.txt": []], "no safetensors file"),
    Case("two checkpoints in the folder", ["a.safetensors": [], "b.safetensors": []], "holds 2 files", "Name the one"),
  ]

  @Test("broken safetensors files are clear errors", arguments: safetensors)
  func brokenSafetensors(_ test: Case) throws {
    try check(test) { _ = try Checkpoint(path: $0) }
  }

  // One case a line.
  // swift-format-ignore
  static let wrongUse: [Case] = [
    header("another shape", #"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, data: 8, "shape [2]", "[1] is needed"),
    header("a missing tensor", #"{"v":{\#(f32)}}"#, data: 4, "no tensor 'w'", "'v'"),
    header("no tensors", "{}", "no tensor 'w'", "it has 0"),
    header("integers", #"{"w":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}"#, data: 4, "'I32'", "F32, F16 or BF16"),
    header("an unknown type", #"{"w":{"dtype":"Z9","shape":[1],"data_offsets":[0,4]}}"#, data: 4, "'Z9'"),
  ]

  @Test("tensors that are not what is needed are clear errors", arguments: wrongUse)
  func wrongTensors(_ test: Case) throws {
    try check(test) { _ = try Checkpoint(path: $0).floats("w", shape: [1]) }
  }

  // MARK: index files

  /// An index with this text, and shards that hold one tensor each: a → "a", b → "b", ab → both.
  private static func index(_ name: String, _ index: String, _ words: String...) -> Case {
    let (a, b) = (
      TinyCheckpoint.Tensor("a", [1], floats: [1]), TinyCheckpoint.Tensor("b", [1], floats: [2])
    )
    let files = [
      "model.safetensors.index.json": Array(index.utf8),
      "a.safetensors": TinyCheckpoint.file([a]), "b.safetensors": TinyCheckpoint.file([b]),
      "ab.safetensors": TinyCheckpoint.file([a, b]),
    ]
    return Case(name, files, words: words)
  }

  // One case a line.
  // swift-format-ignore
  static let indices: [Case] = [
    index("empty index", "", "index.json", "is empty"),
    index("index not JSON", "{", "index.json", "not valid JSON"),
    index("no weight map", #"{"metadata":{}}"#, "'weight_map' is missing"),
    index("weight map a list", #"{"weight_map":[]}"#, "'weight_map' must be an object"),
    index("weight map empty", #"{"weight_map":{}}"#, "'weight_map' is empty"),
    index("shard a number", #"{"weight_map":{"a":1}}"#, "'weight_map.a'", "a string"),
    index("tensor twice", #"{"weight_map":{"a":"a.safetensors","a":"b.safetensors"}}"#, "'a' appears twice"),
    index("shard missing", #"{"weight_map":{"c":"c.safetensors"}}"#, "'c.safetensors'", "missing"),
    index("tensor missing", #"{"weight_map":{"a":"a.safetensors","x":"a.safetensors"}}"#, "lacks tensor 'x'"),
    index("tensor in two shards", #"{"weight_map":{"a":"a.safetensors","b":"ab.safetensors"}}"#, "'a' is in two shards"),
    index("tensor not listed", #"{"weight_map":{"a":"ab.safetensors"}}"#, "'b'", "does not list"),
    index("tensor elsewhere", #"{"weight_map":{"a":"b.safetensors","b":"a.safetensors"}}"#, "says 'b.safetensors'"),
    index("shard above", #"{"weight_map":{"a":"../a.safetensors"}}"#, "outside the model's folder"),
    index("shard above, hidden", #"{"weight_map":{"a":"x/../../a.safetensors"}}"#, "outside"),
    index("shard absolute", #"{"weight_map":{"a":"/etc/passwd"}}"#, "outside"),
    index("shard empty", #"{"weight_map":{"a":""}}"#, "outside"),
    index("shard with NUL", #"{"weight_map":{"a":"a.safetensors\u0000"}}"#, "outside"),
    index("shard is a folder", #"{"weight_map":{"a":"."}}"#, "is a folder"),
    index("shard is the index", #"{"weight_map":{"a":"model.safetensors.index.json"}}"#, "header"),
  ]

  @Test("broken index files are clear errors", arguments: indices)
  func brokenIndex(_ test: Case) throws {
    try check(test) { _ = try Checkpoint(path: $0) }
  }

  @Test("paths that lead nowhere are clear errors")
  func badPaths() throws {
    for (path, words) in [
      ("", "is empty"), ("/nowhere/model", "no file or folder"),
      ("/dev/null", "not a regular file"),
    ] {
      let error = #expect(throws: CheckpointError.self) { try Checkpoint(path: path) }
      #expect(error?.description.contains(words) == true)
    }
  }

  // MARK: config.json

  private static func config(_ name: String, _ text: String, _ words: String...) -> Case {
    Case(name, ["config.json": Array(text.utf8)], words: ["config.json"] + words)
  }

  // One case a line.
  // swift-format-ignore
  static let configurations: [Case] = [
    Case("no config", [:], "no file", "config.json"),
    config("empty config", "", "is empty"),
    config("config not JSON", "model_type: llama", "not valid JSON", "byte 0"),
    config("config an array", "[]", "must be an object"),
    config("no model type", "{}", "'model_type' is missing"),
    config("model type null", #"{"model_type":null}"#, "'model_type' is missing"),
    config("model type a number", #"{"model_type":5}"#, "'model_type' must be a string", "5"),
    config("a key twice", #"{"model_type":"x","n":1,"n":2}"#, "'n' appears twice"),
    config("integer missing", #"{"model_type":"x"}"#, "'n' is missing"),
    config("integer a string", #"{"model_type":"x","n":"8"}"#, "'n'", "from 1 to 99", "'8'"),
    config("integer zero", #"{"model_type":"x","n":0}"#, "'n'", "0"),
    config("integer huge", #"{"model_type":"x","n":1e300}"#, "'n'", "from 1 to 99"),
    config("integer true", #"{"model_type":"x","n":true}"#, "'n'", "true"),
    config("NaN", #"{"model_type":"x","n":NaN}"#, "not valid JSON"),
    config("a leading zero", #"{"model_type":"x","n":01}"#, "must not start with 0"),
    config("a trailing comma", #"{"model_type":"x",}"#, "a key in quotes"),
    config("rope linear", #"{"model_type":"x","n":1,"rope_scaling":{"type":"linear","factor":2.0}}"#, "'rope_scaling.type'", "'linear'", "'default'"),
    config("rope llama3", #"{"model_type":"x","n":1,"rope_scaling":{"rope_type":"llama3"}}"#, "'rope_scaling.rope_type'"),
    config("rope yarn, new", #"{"model_type":"x","n":1,"rope_parameters":{"rope_type":"yarn","rope_theta":1}}"#, "'rope_parameters.rope_type'", "'yarn'"),
    config("rope factor only", #"{"model_type":"x","n":1,"rope_scaling":{"factor":4}}"#, "'rope_scaling.factor'", "4"),
    config("rope by layer", #"{"model_type":"x","n":1,"rope_parameters":{"full":{"rope_theta":1}}}"#, "'rope_parameters.full'"),
    config("rope theta zero", #"{"model_type":"x","n":1,"rope_theta":0}"#, "'rope_theta'", "positive"),
    config("rope theta a string", #"{"model_type":"x","n":1,"rope_theta":"1e4"}"#, "'rope_theta' must be a number"),
    config("rope parameters a list", #"{"model_type":"x","n":1,"rope_parameters":[]}"#, "'rope_parameters' must be an object"),
    config("rope partial", #"{"model_type":"x","n":1,"partial_rotary_factor":0.5}"#, "'partial_rotary_factor'", "0.5"),
  ]

  @Test("broken configurations are clear errors", arguments: configurations)
  func brokenConfiguration(_ test: Case) throws {
    try check(test) {
      let configuration = try ModelConfiguration(path: $0)
      _ = try configuration.integer("n", in: 1...99)
      _ = try configuration.ropeTheta()
    }
  }
}
