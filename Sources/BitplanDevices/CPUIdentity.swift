public import BitplanCore
public import BitplanKernels
internal import Foundation

/// What this machine's CPU calls itself.
public enum CPUIdentity {
  /// The CPU's name with family, model and stepping where the system tells them.
  ///
  /// Virtual machines often hide the product name, so the numbers are part of the identity.
  public static let model: String = {
    #if os(Linux)
      let text = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
      return name(firstProcessor(text))
    #else
      var size = 0
      guard sysctlbyname("machdep.cpu.brand_string", nil, &size, nil, 0) == 0 else {
        return "unknown CPU"
      }
      var bytes = [UInt8](repeating: 0, count: size)
      guard sysctlbyname("machdep.cpu.brand_string", &bytes, &size, nil, 0) == 0 else {
        return "unknown CPU"
      }
      return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    #endif
  }()

  /// A CPU's name from the fields of `/proc/cpuinfo`.
  ///
  /// x86 tells a name, family, model and stepping; 64-bit Arm only numbers: who made the CPU, which
  /// part it is, and its variant and revision.
  package static func name(_ fields: [String: String]) -> String {
    func numbers(_ keys: [String]) -> String? {
      let values = keys.compactMap { fields[$0] }
      return values.count == keys.count ? values.joined(separator: "-") : nil
    }
    if let name = fields["model name"] {
      return numbers(["cpu family", "model", "stepping"]).map { "\(name) (\($0))" } ?? name
    }
    guard let part = numbers(["CPU implementer", "CPU part"]) else { return "unknown CPU" }
    let name = "Arm CPU \(part)"
    return numbers(["CPU variant", "CPU revision"]).map { "\(name) (\($0))" } ?? name
  }

  /// The fields of the first processor in the text of `/proc/cpuinfo`.
  package static func firstProcessor(_ text: String) -> [String: String] {
    var fields: [String: String] = [:]
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      if line.allSatisfy(\.isWhitespace) { if fields.isEmpty { continue } else { break } }
      let parts = line.split(separator: ":", maxSplits: 1)
      guard parts.count == 2 else { continue }
      fields[parts[0].trimmingCharacters(in: .whitespaces)] =
        parts[1].trimmingCharacters(in: .whitespaces)
    }
    return fields
  }

  /// The key of a profile made here with these kernels and threads.
  public static func key(_ context: KernelContext) -> DeviceProfile.Key {
    DeviceProfile.Key(
      cpuModel: model, instructionSet: context.kernels.instructionSet.rawValue,
      threadCount: context.pool.threadCount, kernelBuild: KernelSet.build)
  }

  /// A short name for files, such as `intel-xeon-processor-6-167-1-avx512vnni-2t`.
  public static func profileName(_ key: DeviceProfile.Key) -> String {
    let plain = key.cpuModel.lowercased()
      .replacingOccurrences(of: "(r)", with: "").replacingOccurrences(of: "(tm)", with: "")
    let words = plain.split { !($0.isASCII && ($0.isLetter || $0.isNumber)) }
    return (words + ["\(key.instructionSet)", "\(key.threadCount)t"]).joined(separator: "-")
  }
}
