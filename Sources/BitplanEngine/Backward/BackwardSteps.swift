package import BitplanKernels

/// Reverse mode of an architecture, in the steps of its ``ForwardPass``.
///
/// The forward pass is the one that models run by, with room for a whole sequence in one chunk;
/// its buffers hold a layer's intermediate results after the layer was run.
package protocol BackwardSteps: AnyObject {
  /// The forward pass whose buffers are read.
  var forward: any ForwardPass { get }
  /// After `forward.finish` of the same rows: from the gradient at their output to the gradient at
  /// the last layer's output.
  ///
  /// - Parameters:
  ///   - output: gradient of the rows' logits `[rows, vocabulary]`, in its first rows, or of the
  ///     embedding `[1, width]`.
  ///   - state: the last layer's output.
  ///   - rows: tokens that are finished; for encoders all of them.
  ///   - gradient: `[tokens, width]`, whose `rows` are overwritten.
  func finish(
    output: FloatMatrix, state: FloatMatrix, rows: Range<Int>, gradient: FloatMatrix,
    _ sink: GradientSink
  )
  /// After `forward.runLayer`: replaces the gradient at a layer's output by that at its input.
  func runLayer(
    _ index: Int, input: FloatMatrix, count: Int, gradient: FloatMatrix, _ sink: GradientSink)
  /// After `forward.start`: from the gradient at the first layer's input to the tables.
  func start(_ tokens: [Int], gradient: FloatMatrix, _ sink: GradientSink)
}
