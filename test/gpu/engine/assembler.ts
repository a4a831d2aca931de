/**
 * Commands for tests, written down from the specification by hand: nothing here comes from the
 * tables that are tested.
 */
const low = (address: number) => address % 2 ** 32;
const high = (address: number) => Math.floor(address / 2 ** 32);
/** The two dwords of an address. */
export const at = (address: number): [number, number] => [low(address), high(address)];

/** Commands without operands. */
export const NOOP = 0;
export const BB_END = 0x0500_0000;
export const ARB_CHECK = 0x0280_0000;
export const ARB_OFF = 0x0400_0000;
export const ARB_ON = 0x0400_0001;
export const USER_INTERRUPT = 0x0100_0000;

/** Header bit of commands that can address the GGTT. */
export const GGTT_BIT = 1 << 22;
/** Registers from the engine's MMIO base. */
export const gpr = (index: number) => 0x600 + index * 8;

export const sdi = (address: number, value: number, flags = 0): number[] => [
  0x1000_0002 | flags,
  ...at(address),
  value,
];

export const sdiQword = (address: number, value: bigint, flags = 0): number[] => [
  0x1020_0003 | flags,
  ...at(address),
  Number(value & 0xffff_ffffn),
  Number(value >> 32n),
];

export const sdiMany = (address: number, values: readonly number[], flags = 0): number[] => [
  0x1000_0000 | flags | (values.length + 1),
  ...at(address),
  ...values,
];

/** MI_LOAD_REGISTER_IMM with "Add CS MMIO Start Offset". */
export const lri = (...pairs: number[]): number[] => [0x1108_0000 | (pairs.length - 1), ...pairs];

export const lriQword = (register: number, value: bigint): number[] =>
  lri(register, Number(value & 0xffff_ffffn), register + 4, Number(value >> 32n));

export const lrm = (register: number, address: number, flags = 0): number[] => [
  0x1488_0002 | flags,
  register,
  ...at(address),
];

export const srm = (register: number, address: number, flags = 0): number[] => [
  0x1208_0002 | flags,
  register,
  ...at(address),
];

export const srmQword = (register: number, address: number): number[] => [
  ...srm(register, address),
  ...srm(register + 4, address + 4),
];

export const lrr = (source: number, destination: number, flags = 0x0c_0000): number[] => [
  0x1500_0001 | flags,
  source,
  destination,
];

export const math = (...instructions: number[]): number[] => [
  0x0d00_0000 | (instructions.length - 1),
  ...instructions,
];

/** One instruction of MI_MATH. */
export const alu = (opcode: number, first = 0, second = 0): number =>
  ((opcode << 20) | (first << 10) | second) >>> 0;

/** Opcodes and operands of MI_MATH. */
export const A = {
  LOAD: 0x080,
  LOADINV: 0x480,
  LOAD0: 0x081,
  LOAD1: 0x481,
  LOADIND: 0x082,
  ADD: 0x100,
  SUB: 0x101,
  AND: 0x102,
  OR: 0x103,
  XOR: 0x104,
  SHL: 0x105,
  SHR: 0x106,
  SAR: 0x107,
  STORE: 0x180,
  STOREINV: 0x580,
  STOREIND: 0x181,
  FENCE_RD: 0x001,
  SRCA: 0x20,
  SRCB: 0x21,
  ACCU: 0x31,
  ZF: 0x32,
  CF: 0x33,
} as const;

/** MI_BATCH_BUFFER_START into the PPGTT (bit 8), or with 0 into the GGTT. */
export const bbStart = (address: number, flags = 0x100): number[] => [
  (0x1880_0001 | flags) >>> 0,
  ...at(address),
];

/** Flags of {@link bbStart}. */
export const BB = {
  PPGTT: 0x100,
  PREDICATED: 1 << 15,
  INDIRECT: 1 << 18,
  NESTED: 1 << 22,
} as const;

/** MI_CONDITIONAL_BATCH_BUFFER_END that compares. */
export const condEnd = (address: number, value: number, op: number, flags = 0): number[] => [
  0x1b00_0002 | (1 << 21) | (op << 12) | flags,
  value,
  ...at(address),
];

/** MI_SEMAPHORE_WAIT, polling, with token. */
export const semaphoreWait = (address: number, value: number, op: number, flags = 0): number[] => [
  0x0e00_8003 | (op << 12) | flags,
  value,
  ...at(address),
  0,
];

/** Comparisons. */
export const CMP = { GT: 0, GTE: 1, LT: 2, LTE: 3, EQ: 4, NEQ: 5 } as const;

export const setPredicate = (mode: number): number => 0x0080_0000 | mode;

/** PIPE_CONTROL with flags of its second dword. */
export const pipeControl = (flags: number, address = 0, value = 0n): number[] => [
  0x7a00_0004,
  flags,
  ...at(address),
  Number(value & 0xffff_ffffn),
  Number(value >> 32n),
];

/** MI_FLUSH_DW of four dwords; `address` with its GGTT bit. */
export const flushDw = (flags: number, address = 0, value = 0): number[] => [
  0x1300_0002 | flags,
  ...at(address),
  value,
];

/** MI_ATOMIC with operands in the command; operands as qwords. */
export const atomicInline = (
  opcode: number,
  address: number,
  first = 0n,
  second = 0n,
  flags = 0,
): number[] => {
  const dword = (value: bigint, index: number) =>
    Number((value >> BigInt(index * 32)) & 0xffff_ffffn);
  const operands = [0, 1, 2, 3].flatMap((index) => [dword(first, index), dword(second, index)]);
  return [0x1784_0009 | (opcode << 8) | flags, ...at(address), ...operands];
};

/** MEM_COPY of `width` bytes. */
export const memCopy = (from: number, to: number, width: number): number[] => [
  0x5680_0008,
  width - 1,
  0,
  0,
  0,
  ...at(from),
  ...at(to),
  0,
];

/** MEM_SET of `width` bytes. */
export const memSet = (to: number, width: number, value: number): number[] => [
  0x56c0_0005,
  width - 1,
  0,
  0,
  ...at(to),
  (value << 24) >>> 0,
];
