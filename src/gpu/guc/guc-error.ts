import { gucResponseName } from '../../xe/guc/hxg.ts';

/** A refusal by emulated firmware; becomes an HXG failure for whoever asked. */
export class GucError extends Error {
  /** One of GUC_RESPONSE. */
  readonly response: number;

  constructor(response: number, reason: string) {
    super(`${reason} (${gucResponseName(response)})`);
    this.name = 'GucError';
    this.response = response;
  }
}
