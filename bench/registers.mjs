/** Registers of BAR0 that the benchmarks touch, by their byte offset. */
export const REGISTERS = {
  /** VF_CAP_REG, the first register that the xe driver of a guest reads. */
  VF_CAP_REG: 0x1901f8,
  /** The register that xe writes as a workaround, most of the writes of a probe. */
  DUMMY: 0x130030,
};
