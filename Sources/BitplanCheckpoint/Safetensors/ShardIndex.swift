/// `model.safetensors.index.json`: which shard holds which tensor.
struct ShardIndex {
  /// Larger index files are not read.
  static let sizeLimit = 100_000_000

  /// Shard file names relative to the index, in byte order.
  let shards: [String]
  /// Shard of every tensor.
  let shardOfTensor: [ExactString: String]

  /// Reads and checks an index file. The shards are not opened.
  init(path: String) throws(CheckpointError) {
    let root = try JSONNode(contentsOf: path, limit: Self.sizeLimit)
    var shardOfTensor: [ExactString: String] = [:]
    var shards = Set<ExactString>()
    for (name, node) in try root.required("weight_map").members() {
      let shard = try node.string()
      guard Self.staysInFolder(shard) else {
        throw node.error(
          "names the file \(shard.quoted), which is outside the model's folder. Shards must lie "
            + "beside the index; do not use this file.")
      }
      shards.insert(ExactString(shard))
      shardOfTensor[ExactString(name)] = shard
    }
    guard !shards.isEmpty else {
      throw CheckpointError(
        "\(path.quoted): key 'weight_map' is empty. Get the file again from where it came.")
    }
    self.shards = shards.sorted().map(\.string)
    self.shardOfTensor = shardOfTensor
  }

  /// A relative path without `..`, so that an index cannot reach files it was not shipped with.
  private static func staysInFolder(_ shard: String) -> Bool {
    guard !shard.isEmpty, !shard.utf8.contains(0), !shard.utf8.contains(UInt8(ascii: "\\")) else {
      return false
    }
    let components = shard.utf8.split(
      separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    return components.allSatisfy { !$0.isEmpty && !$0.elementsEqual("..".utf8) }
  }
}
