/// The element types that safetensors files name.
///
/// A file may hold types that Bitplan does not compute with (masks, position ids, 8-bit floats of
/// other tools); their sizes are still checked. A type that is not listed is legal in a file too,
/// only its size cannot be checked.
enum DataType {
  /// Bits of one element, or `nil` for an unknown type.
  static func bits(_ name: String) -> Int? {
    switch name {
    case "F4": 4
    case "F6_E2M3", "F6_E3M2": 6
    case "BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ": 8
    case "U16", "I16", "F16", "BF16": 16
    case "U32", "I32", "F32": 32
    case "U64", "I64", "F64", "C64": 64
    default: nil
    }
  }

  /// Stored bytes of a shape, or `nil` where they overflow or are not whole.
  static func byteCount(bits: Int, shape: [Int]) -> Int? {
    guard let elements = elementCount(shape) else { return nil }
    let (total, overflow) = elements.multipliedReportingOverflow(by: bits)
    return overflow || total % 8 != 0 ? nil : total / 8
  }

  /// The product of a shape, or `nil` where it overflows.
  static func elementCount(_ shape: [Int]) -> Int? {
    var product = 1
    for size in shape {
      let (next, overflow) = product.multipliedReportingOverflow(by: size)
      guard !overflow, size >= 0 else { return nil }
      product = next
    }
    return product
  }
}
