/// The steps that cut a text into words before byte-level BPE.
struct ByteLevelPreTokenizer: Sendable {
  private enum Step: Sendable {
    /// Cut into the matches of a pattern.
    case split(SplitPattern)
    /// Cut digits from the rest, one by one or in runs.
    case digits(individually: Bool)
    /// Put a space before every piece that has none.
    case prefixSpace
  }

  private var steps: [Step] = []
  private var isByteLevel = false

  /// Reads `pre_tokenizer`, which must end in a ByteLevel step.
  init(_ node: JSONNode) throws(CheckpointError) {
    try read(node)
    guard isByteLevel else {
      throw node.error(
        "has no 'ByteLevel' step; BPE is supported on bytes only. Use a model with a byte-level "
          + "tokenizer.")
    }
  }

  private mutating func read(_ node: JSONNode) throws(CheckpointError) {
    guard !isByteLevel else {
      throw node.error("follows 'ByteLevel', which must be the last step.")
    }
    let type = try node.required("type")
    switch try type.string() {
    case "Sequence":
      for child in try node.required("pretokenizers").elements() { try read(child) }
    case "ByteLevel":
      if try node.optional("add_prefix_space")?.boolean() ?? true { steps.append(.prefixSpace) }
      if try node.optional("use_regex")?.boolean() ?? true { steps.append(.split(.gpt2)) }
      isByteLevel = true
    case "Digits":
      let individually = try node.optional("individual_digits")?.boolean() ?? false
      steps.append(.digits(individually: individually))
    case "Split":
      let expression = try node.required("pattern").required("Regex")
      guard let pattern = SplitPattern(expression: try expression.string()) else {
        throw expression.error(
          "is \(try expression.string().quoted), which is not supported; the patterns of GPT-2, "
            + "Llama 3 and Qwen 2 are.")
      }
      let behavior = try node.required("behavior")
      guard try behavior.string() == "Isolated", try !(node.optional("invert")?.boolean() ?? false)
      else {
        throw behavior.error(
          "is \(try behavior.string().quoted); only 'Isolated' without 'invert' is supported.")
      }
      steps.append(.split(pattern))
    case let name:
      throw type.error(
        "is \(name.quoted), which is not supported; ByteLevel, Split, Digits and a Sequence of them "
          + "are.")
    }
  }

  /// The words of `text` as ranges of the returned bytes, which differ where spaces were added.
  func words(_ text: [UInt8]) -> (bytes: [UInt8], words: [Range<Int>]) {
    guard !text.isEmpty else { return ([], []) }
    var bytes = text
    var words = [0..<text.count]
    for step in steps {
      switch step {
      case .split(let pattern):
        var cut: [Range<Int>] = []
        cut.reserveCapacity(bytes.count / 4)
        for word in words {
          var start = word.lowerBound
          while start < word.upperBound {
            let end = pattern.endOfWord(bytes, from: start, to: word.upperBound)
            cut.append(start..<end)
            start = end
          }
        }
        words = cut
      case .digits(let individually):
        words = words.flatMap { Self.cutDigits(bytes, $0, individually: individually) }
      case .prefixSpace:
        var prefixed: [UInt8] = []
        prefixed.reserveCapacity(bytes.count + words.count)
        words = words.map { word in
          let start = prefixed.count
          if bytes[word.lowerBound] != UInt8(ascii: " ") { prefixed.append(UInt8(ascii: " ")) }
          prefixed.append(contentsOf: bytes[word])
          return start..<prefixed.count
        }
        bytes = prefixed
      }
    }
    return (bytes, words)
  }

  private static func cutDigits(
    _ bytes: [UInt8], _ word: Range<Int>, individually: Bool
  ) -> [Range<Int>] {
    var pieces: [Range<Int>] = []
    var start = word.lowerBound
    var position = start
    var wasNumber = false
    while position < word.upperBound {
      let (scalar, length) = ScalarText.scalar(bytes, at: position)
      let isNumber = ScalarClass(scalar) == .number
      if position > start, isNumber != wasNumber || (isNumber && individually) {
        pieces.append(start..<position)
        start = position
      }
      wasNumber = isNumber
      position += length
    }
    pieces.append(start..<word.upperBound)
    return pieces
  }
}
