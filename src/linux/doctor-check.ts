/** What a look at the machine comes to, one line a question. */

/** `fail`: migration cannot work so; `warn`: it can, but; `unknown`: this user cannot see it. */
export type CheckStatus = 'ok' | 'warn' | 'fail' | 'unknown';

/** One question about the machine. */
export interface Check {
  /** Short and stable, such as `kernel` or `0000:03:00.0 guc`. */
  readonly name: string;
  readonly status: CheckStatus;
  readonly found: string;
  readonly wanted: string;
  /** What to do; undefined when it is well. */
  readonly fix?: string;
}

/** A check that is well or not. */
export function check(
  name: string,
  well: boolean,
  told: { readonly found: string; readonly wanted: string; readonly fix: string },
  otherwise: CheckStatus = 'fail',
): Check {
  const { found, wanted, fix } = told;
  return well
    ? { name, status: 'ok', found, wanted }
    : { name, status: otherwise, found, wanted, fix };
}
