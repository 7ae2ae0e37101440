internal import Foundation

/// The devices that come with Bitplan.
public enum DeviceCatalog {
  /// All of them, by name. The files are part of the program, so they are found wherever it runs.
  public static let devices: [String: SimulatedDevice] = {
    let files = [
      PackageResources.ant_json, PackageResources.bitfusion_json, PackageResources.fp16_json,
      PackageResources.int8_json, PackageResources.mixpe_w4a16_json,
      PackageResources.mixpe_w4a8_json, PackageResources.apple_m2_json,
      PackageResources.phone_cortex_x4_json, PackageResources.raspberry_pi_5_json,
      PackageResources.ryzen_9_7950x_json, PackageResources.xeon_cascade_lake_2t_json,
    ]
    let devices = files.compactMap {
      try? JSONDecoder().decode(SimulatedDevice.self, from: Data($0))
    }
    return Dictionary(devices.map { ($0.name, $0) }) { first, _ in first }
  }()

  /// Other names of devices, as on the command line.
  public static let aliases = ["mixpe": "mixpe-w4a8"]

  /// The device called `name` or that has that alias.
  public static func device(_ name: String) -> SimulatedDevice? { devices[aliases[name] ?? name] }
}
