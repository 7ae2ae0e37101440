internal import BitplanCore
internal import BitplanEngine
internal import Synchronization

/// The model that seeded rotations made last: a search measures it and then executes plans of it, and
/// what is known of its inputs is known of these very weights.
///
/// Seeded rotations follow from the weights alone; scalings and Kronecker products, which follow from a
/// text as well, are made each time.
final class KeptRotation: Sendable {
  private struct Kept: Sendable {
    let identity: ModelIdentity
    let transforms: [EquivalenceTransform]
    let model: Model
  }

  private let last = Mutex<Kept?>(nil)

  /// The kept model of these weights and transforms, else what `make` makes.
  func model(
    of identity: ModelIdentity, _ transforms: [EquivalenceTransform], make: () throws -> Model
  ) rethrows -> Model {
    guard transforms.allSatisfy({ $0.kind == .rotation }) else { return try make() }
    let known = last.withLock { kept in
      kept.flatMap { $0.identity == identity && $0.transforms == transforms ? $0.model : nil }
    }
    if let known { return known }
    let model = try make()
    last.withLock { $0 = Kept(identity: identity, transforms: transforms, model: model) }
    return model
  }
}
