import { describe, expect, it } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import type { PfEvent } from '../../src/pf/pf-event.ts';
import { negotiateVersion, PfService } from '../../src/pf/pf-service.ts';
import { HXG_ORIGIN, HXG_TYPE, hxgEvent, hxgRequest, hxgType } from '../../src/xe/guc/hxg.ts';
import {
  CTB_MAX_DWORDS,
  GUC2PF_ACTION,
  PF2GUC_ACTION,
  VF2PF_ACTION,
} from '../../src/xe/guc/pf-actions.ts';
import { GoldenDevice } from './golden-device.ts';
import { goldenJson } from './golden-files.ts';

interface Cases {
  readonly service_negotiation: {
    readonly cases: ReadonlyArray<{
      readonly wanted: readonly [number, number];
      readonly result: readonly [number, number] | string;
    }>;
  };
  readonly relay: Readonly<Record<string, string>>;
}

const cases = goldenJson<Cases>('provisioning_and_abi_cases.json');
const RELAY = hxgEvent(GUC2PF_ACTION.RELAY_FROM_VF.action);
const RELAY_ID = 1234;
/** What a VF reads after its request was refused: GUC_RELAY_ERROR_UNDISCLOSED. */
const REFUSED = [HXG_TYPE.RESPONSE_FAILURE << 28];

describe('agreeing on a version', () => {
  for (const { wanted, result } of cases.service_negotiation.cases) {
    it(`${wanted.join('.')} → ${String(result)}`, () => {
      const [major, minor] = wanted;
      let answer: unknown;
      try {
        const version = negotiateVersion({ major, minor });
        answer = [version.major, version.minor];
      } catch (error) {
        answer = error instanceof Fault ? `-${error.code}` : error;
      }
      expect(answer).toEqual(result);
    });
  }
});

/** A device whose VF5 talks to the PF through a GT. */
class Conversation {
  readonly device = new GoldenDevice('ptl', { vfs: 6 });
  readonly refusals: string[] = [];
  readonly #gt: number;

  constructor(gt = 0) {
    this.#gt = gt;
    this.device.pf.events.on((event: PfEvent) => {
      if (event.type === 'message-refused') this.refusals.push(event.cause.code);
    });
  }

  get #guc() {
    const guc = this.device.gts[this.#gt]?.guc;
    if (guc === undefined) throw new Error('no such GT');
    return guc;
  }

  /** Hands the PF an event as it is. @returns how it was refused, if it was at once */
  event(...message: number[]): string | undefined {
    this.refusals.length = 0;
    this.#guc.event(...message);
    return this.refusals[0];
  }

  /** Sends a request of a VF. @returns the PF's answer */
  ask(...request: number[]): number[] | undefined {
    this.#guc.sent.length = 0;
    expect(this.event(RELAY, 5, RELAY_ID, ...request)).toBeUndefined();
    expect(this.#guc.sent, 'the answer comes later').toEqual([]);
    this.device.jobs.drain();
    const [sent] = this.#guc.sent;
    const header = hxgRequest(PF2GUC_ACTION.RELAY_TO_VF.action);
    expect(sent?.slice(0, 3)).toEqual([header, 5, RELAY_ID]);
    return sent?.slice(3);
  }
}

const handshake = (major: number, minor: number) => [
  hxgRequest(VF2PF_ACTION.HANDSHAKE),
  (major << 16) | minor,
];

describe('the relay', () => {
  it('refuses what is malformed', () => {
    const vf = new Conversation();
    const long = Array.from({ length: CTB_MAX_DWORDS + 1 }, () => 0);
    const fromGuc = (HXG_ORIGIN.GUC << 31) >>> 0;
    const got = {
      'guc2pf len 2 (min-1)': `-${vf.event(RELAY, 5)}`,
      'guc2pf len max+1': `-${vf.event(RELAY, 5, RELAY_ID, ...long.slice(2))}`,
      'guc2pf len 3, no payload': `-${vf.event(RELAY, 5, RELAY_ID)}`,
      'origin GUC instead of HOST': `-${vf.event(RELAY, 5, RELAY_ID, fromGuc)}`,
      'type 4': `-${vf.event(RELAY, 5, RELAY_ID, 4 << 28)}`,
    };
    for (const [name, code] of Object.entries(got)) expect(code, name).toBe(cases.relay[name]);
    expect(vf.event((RELAY | (1 << 16)) >>> 0, 5, RELAY_ID, 0)).toBe('EPFNOSUPPORT');
    expect(vf.event(RELAY, 0, RELAY_ID, 0)).toBe('ENOENT');
    expect(vf.event(RELAY, 64, RELAY_ID, 0)).toBe('ENOENT');
    expect(vf.event(RELAY, 5, RELAY_ID, (HXG_TYPE.RESPONSE_SUCCESS << 28) >>> 0)).toBe('ESRCH');
  });

  it('answers what nobody knows without telling why, so that the VF sees EREMOTEIO', () => {
    const vf = new Conversation();
    expect(vf.ask(hxgRequest(0xdeb1, 0xf))).toEqual(REFUSED);
    expect(vf.refusals).toEqual(['EOPNOTSUPP']);
    expect(vf.ask(hxgEvent(VF2PF_ACTION.HANDSHAKE, HXG_ORIGIN.HOST), 0)).toEqual(REFUSED);
  });

  it('tells when its answer cannot be sent', () => {
    const vf = new Conversation();
    const [gt] = vf.device.gts;
    if (gt === undefined) throw new Error('no GT');
    gt.guc.send = () => {
      throw new Fault('ECOMM', 'the transport');
    };
    gt.guc.event(RELAY, 5, RELAY_ID, ...handshake(1, 0));
    vf.device.jobs.drain();
    expect(vf.refusals).toEqual(['ECOMM', 'ECOMM']);
  });
});

describe('the PF service', () => {
  it('shakes hands, and forgets the version when a VF fails or is reset', async () => {
    const vf = new Conversation();
    const { service, control } = vf.device.pf;
    expect(vf.ask(...handshake(1, 7))).toEqual([(HXG_TYPE.RESPONSE_SUCCESS << 28) >>> 0, 1 << 16]);
    expect(service.version(5)).toEqual({ major: 1, minor: 0 });
    expect(vf.ask(...handshake(0, 1))).toEqual(REFUSED);
    expect(vf.refusals).toEqual(['EPERM']);
    expect(service.version(5)).toBeUndefined();
    vf.ask(...handshake(0, 0));
    expect(service.version(5)).toEqual({ major: 1, minor: 0 });
    await vf.device.must(() => control.resetVf(5));
    expect(service.version(5)).toBeUndefined();
  });

  it('goes on with what was agreed on elsewhere, if it speaks that', () => {
    const { service } = new Conversation().device.pf;
    service.carry(5, { major: 1, minor: 0 });
    expect(service.version(5)).toEqual({ major: 1, minor: 0 });
    expect(() => service.carry(5, { major: 0, minor: 1 })).toThrow(
      expect.objectContaining({ code: 'EPERM' }),
    );
    expect(service.version(5)).toEqual({ major: 1, minor: 0 });
    service.carry(5, undefined);
    expect(service.version(5)).toBeUndefined();
  });

  it('refuses a malformed handshake', () => {
    const vf = new Conversation();
    expect(vf.ask(hxgRequest(VF2PF_ACTION.HANDSHAKE))).toEqual(REFUSED);
    expect(vf.refusals).toEqual(['EMSGSIZE']);
    expect(vf.ask(hxgRequest(VF2PF_ACTION.HANDSHAKE, 1), 0)).toEqual(REFUSED);
    expect(vf.refusals).toEqual(['EPFNOSUPPORT']);
  });

  const query = (limit: number, ...rest: number[]) => [
    hxgRequest(VF2PF_ACTION.QUERY_RUNTIME, limit),
    ...rest,
  ];

  it('tells runtime registers 16 at a time, the media GT with its own offsets', () => {
    for (const [gt, shift] of [
      [0, 0],
      [1, 0x38_0000],
    ] as const) {
      const vf = new Conversation(gt);
      vf.ask(...handshake(1, 0));
      const first = vf.ask(...query(10, 0)) ?? [];
      const second = vf.ask(...query(10, 10)) ?? [];
      expect([first[0], first[1]]).toEqual([((HXG_TYPE.RESPONSE_SUCCESS << 28) | 10) >>> 0, 4]);
      expect([second[0], second[1]]).toEqual([((HXG_TYPE.RESPONSE_SUCCESS << 28) | 4) >>> 0, 0]);
      const all = [...first.slice(2), ...second.slice(2)];
      const offsets = all.filter((_, at) => at % 2 === 0);
      expect(offsets.map((offset) => offset - shift)).toEqual([
        0xd00, 0x9114, 0x9118, 0x911c, 0x9130, 0x9134, 0x913c, 0x9140, 0x9144, 0x9148, 0x914c,
        0x9150, 0x9154, 0xc1dc,
      ]);
      const values = all.filter((_, at) => at % 2 === 1);
      expect(values).toEqual(offsets.map((offset) => offset ^ 0x5500_0000));
      expect(vf.ask(...query(0, 0))).toEqual([
        ((HXG_TYPE.RESPONSE_SUCCESS << 28) | 14) >>> 0,
        0,
        ...all,
      ]);
    }
  });

  it('refuses queries without a handshake, of a wrong length or past the end', () => {
    const vf = new Conversation();
    expect(vf.ask(...query(0, 0))).toEqual(REFUSED);
    expect(vf.refusals).toEqual(['EACCES']);
    vf.ask(...handshake(1, 0));
    for (const [request, code] of [
      [query(0, 0, 0), 'EMSGSIZE'],
      [query(0), 'EPROTO'],
      [query(0, 15), 'ERANGE'],
    ] as const) {
      expect(vf.ask(...request)).toEqual(REFUSED);
      expect(vf.refusals).toEqual([code]);
    }
    expect(hxgType((vf.ask(...query(0, 14)) ?? [0])[0] as number)).toBe(HXG_TYPE.RESPONSE_SUCCESS);
  });

  it('knows its registers by graphics version', () => {
    const counts = [1200, 1255, 1260, 1270, 2001, 3003, 3500].map((graphicsVerx100) => {
      const device = new GoldenDevice('ptl', { device: { graphicsVerx100 } });
      const [gt] = device.device.tiles[0]?.gts ?? [];
      if (gt === undefined) throw new Error('no GT');
      device.pf.service.process(gt, 1, handshake(1, 0));
      return (device.pf.service.process(gt, 1, query(0, 0)).length - 2) / 2;
    });
    expect(counts).toEqual([7, 8, 8, 10, 13, 14, 15]);
    const unknown = () => new GoldenDevice('ptl', { device: { graphicsVerx100: 1250 } });
    expect(unknown).toThrowError(expect.objectContaining({ code: 'ENOPKG' }));
  });
});

describe('a VF that was moved here', () => {
  const query = [hxgRequest(VF2PF_ACTION.QUERY_RUNTIME, 1), 0];

  it('goes on with what its driver agreed on elsewhere, or with nothing', () => {
    const service = new PfService(3000, () => {});
    const gt = { id: 0, readRegister: () => 0 } as unknown as Parameters<PfService['process']>[0];
    expect(() => service.process(gt, 1, query)).toThrow('has not agreed');
    service.carry(1, { major: 1, minor: 0 });
    expect(service.version(1)).toEqual({ major: 1, minor: 0 });
    expect(() => service.process(gt, 1, query)).not.toThrow();
    service.carry(1, undefined);
    expect(() => service.process(gt, 1, query)).toThrow('has not agreed');
  });
});
