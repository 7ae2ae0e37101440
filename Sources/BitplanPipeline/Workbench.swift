internal import BitplanCore
internal import BitplanDevices
public import BitplanKernels
public import Foundation

/// What every verb needs besides its inputs: kernels and threads, where profiles are kept, who
/// hears of progress, and who may stop it.
public struct Workbench: Sendable {
  /// Kernels and threads.
  public let context: KernelContext
  /// The folder for profiles, `$BITPLAN_HOME`.
  public let home: URL
  /// Hears how far things are.
  public let progress: any ProgressReporter
  /// Asks verbs to stop.
  public let cancellation: Cancellation
  /// Statistics of the calibration text, for the next verb that needs them.
  let kept = KeptStatistics()
  /// The rotated model, for the next verb that needs it.
  let keptRotation = KeptRotation()

  /// Makes a workbench.
  ///
  /// - Parameters:
  ///   - instructionSet: kernels to use; the fastest that this CPU can run by default.
  ///   - threadCount: threads to use; one for every core by default.
  public init(
    instructionSet: InstructionSet? = nil, threadCount: Int? = nil, home: URL? = nil,
    progress: any ProgressReporter = SilentProgress(), cancellation: Cancellation = Cancellation()
  ) throws(PipelineError) {
    let set = instructionSet ?? InstructionSet.best
    guard let kernels = KernelSet(set) else {
      throw PipelineError(
        .invalidInput,
        "This machine cannot run the \(set.rawValue) kernels. Choose one of: "
          + InstructionSet.supported.map(\.rawValue).joined(separator: ", ") + ".")
    }
    let threads = threadCount ?? ProcessInfo.processInfo.activeProcessorCount
    guard (1...1024).contains(threads) else {
      throw PipelineError(.invalidInput, "'\(threads)' threads: choose between 1 and 1024.")
    }
    let home = home ?? Self.defaultHome()
    self.context = Self.measuredChoice(
      KernelContext(kernels: kernels, pool: ThreadPool(threadCount: threads)), home)
    self.home = home
    self.progress = progress
    self.cancellation = cancellation
  }

  /// The folder for device profiles.
  public var profilesFolder: URL { Self.profilesFolder(home) }

  private static func profilesFolder(_ home: URL) -> URL { home.appending(path: "Profiles") }

  /// This machine's own profile.
  static func ownProfile(_ key: DeviceProfile.Key, _ home: URL) -> URL {
    profilesFolder(home).appending(path: "\(CPUIdentity.profileName(key)).json")
  }

  /// The kernels that this machine's own profile found faster, where there is a choice and a profile.
  private static func measuredChoice(_ context: KernelContext, _ home: URL) -> KernelContext {
    guard let lookup = context.kernels.withLookup else { return context }
    let key = CPUIdentity.key(context)
    guard let stored = try? ProfileStore.read(ownProfile(key, home)), stored.profile.key == key,
      stored.profile.usesLookup == true
    else { return context }
    return KernelContext(kernels: lookup, pool: context.pool)
  }

  /// `$BITPLAN_HOME`, else the user's data folder as the XDG rules or macOS say.
  static func defaultHome(environment: [String: String] = ProcessInfo.processInfo.environment)
    -> URL
  {
    if let home = environment["BITPLAN_HOME"], !home.isEmpty { return URL(filePath: home) }
    #if os(macOS)
      return URL.applicationSupportDirectory.appending(path: "Bitplan")
    #else
      if let data = environment["XDG_DATA_HOME"], data.hasPrefix("/") {
        return URL(filePath: data).appending(path: "bitplan")
      }
      let user = environment["HOME"] ?? NSHomeDirectory()
      return URL(filePath: user).appending(path: ".local/share/bitplan")
    #endif
  }
}
