import BitplanCheckpoint
import BitplanTestSupport
import Foundation
import Testing

/// White space goes, everything else stays.
struct JSONTextTests {
  @Test(
    "white space outside strings goes, every other byte stays",
    arguments: [
      ("", ""), (" \t\r\n", ""),
      (#"{ "a" : [ 1 , -2.5e+3 , true ] }"#, #"{"a":[1,-2.5e+3,true]}"#),
      (#"{"a b": "c \" d\\" , "e" : " \n" }"#, #"{"a b":"c \" d\\","e":" \n"}"#),
      (#"[ "\\\" , " , "x" ]"#, #"["\\\" , ","x"]"#),
      (#"[ " é🙂 " , "\u0020" ]"#, #"[" é🙂 ","\u0020"]"#),
    ])
  func compacts(_ text: String, _ expected: String) {
    #expect(JSONText.compacted(text) == expected)
    #expect(JSONText.compacted(expected) == expected)
  }

  @Test("a compacted tokenizer makes the same tokens")
  func tokenizer() throws {
    let text = try String(
      contentsOf: Fixtures.docsLlama.appending(path: "tokenizer.json"), encoding: .utf8)
    let compact = JSONText.compacted(text)
    #expect(compact.utf8.count * 2 < text.utf8.count)
    func object(_ text: String) throws -> NSDictionary? {
      try JSONSerialization.jsonObject(with: Data(text.utf8)) as? NSDictionary
    }
    #expect(try #require(try object(compact)) == #require(try object(text)))
    let sample = try String(
      contentsOf: Fixtures.docsLlama.appending(path: "evaluation.txt"), encoding: .utf8
    ).prefix(20_000)
    let ids = try Tokenizers.load(text: compact, name: "compact")
      .encode(String(sample), addSpecialTokens: false)
    #expect(
      try ids
        == Tokenizers.load(text: text, name: "whole")
        .encode(String(sample), addSpecialTokens: false))
  }
}
