import BitplanCore
import BitplanDevices
import Testing

struct LatencyTableTests {
  @Test("what is written is read back to the same numbers")
  func roundTrip() throws {
    let device = try #require(DeviceCatalog.device("mixpe"))
    let profile = try device.profile(
      shapes: [MatrixShape(outputFeatures: 300, inputFeatures: 128)], formats: WeightFormat.all,
      batches: [1, 128], workingSetBytes: 1)
    let read = try LatencyTable.parse(LatencyTable.text(profile.measurements))
    #expect(read == profile.measurements)
    let imported = LatencyTable.profile(name: "phone", read)
    try imported.validate()
    #expect(imported.measurements == profile.measurements)
    #expect(!imported.simulated)
  }

  @Test("columns come in any order, joules may be missing or empty")
  func columns() throws {
    let table = """
      \u{FEFF}seconds, format ,batch,input_features,output_features\r
      2e-5,int4_g64,1,64,32\r
      """
    let found = try LatencyTable.parse(table)
    #expect(found.count == 1)
    #expect(found[0].seconds == 2e-5 && found[0].joules == nil && found[0].batch == 1)
    #expect(found[0].shape == MatrixShape(outputFeatures: 32, inputFeatures: 64))
    let header = "output_features,input_features,format,batch,seconds,joules\n"
    #expect(try LatencyTable.parse(header + "1,2,f16,1,1,\n")[0].joules == nil)
    #expect(try LatencyTable.parse(header + "1,2,f16,1,1,0\n")[0].joules == 0)
  }

  @Test(
    "a damaged table is refused with the line",
    arguments: [
      ("", 1), ("\n\n", 3), ("output_features,input_features\n1,2", 1),
      ("output_features,input_features,format,batch,seconds,watts\n", 1),
      ("output_features,input_features,format,batch,seconds,seconds\n", 1),
      ("output_features,input_features,format,batch,seconds\n", 2),
      ("output_features,input_features,format,batch,seconds\n1,2,int4_g64,1", 2),
      ("output_features,input_features,format,batch,seconds\n1,2,int4_g64,1,nan", 2),
      ("output_features,input_features,format,batch,seconds\n1,2,int4_g64,1,inf", 2),
      ("output_features,input_features,format,batch,seconds\n1,2,int4_g64,1,0", 2),
      ("output_features,input_features,format,batch,seconds\n1,2,int4_g64,1,-1", 2),
      ("output_features,input_features,format,batch,seconds\n0,2,int4_g64,1,1", 2),
      ("output_features,input_features,format,batch,seconds\n99999999999999999999,2,f16,1,1", 2),
      ("output_features,input_features,format,batch,seconds\n2147483647,2147483647,f16,1,1", 2),
      ("output_features,input_features,format,batch,seconds\n1,2,int7_g64,1,1", 2),
      ("output_features,input_features,format,batch,seconds\n1,2,f16,1.5,1", 2),
      ("output_features,input_features,format,batch,seconds\n1,2,f16,1,1\n\n1,2,f16,1,2", 4),
      ("output_features,input_features,format,batch,seconds,joules\n1,2,f16,1,1,-1", 2),
      ("output_features,input_features,format,batch,seconds\n\"1\",2,f16,1,1", 2),
    ])
  func refusesDamage(_ text: String, _ line: Int) {
    #expect { try LatencyTable.parse(text) } throws: { error in
      (error as? LatencyTable.ParsingError)?.line == line
    }
  }
}
