/** A serving process that was started by another Node process answers it over their channel. */
import { toFault } from '../base/fault.ts';
import type { ServedHost } from './serve.ts';
import type { ServeError, ToServer } from './serve-messages.ts';

/** What goes back over the channel. */
export type IpcAnswer =
  | { readonly type: 'ready' }
  | { readonly type: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly type: 'refusal'; readonly id: number; readonly error: ServeError };

/**
 * Answers the process that started this one, if it left a channel for that, while the host serves.
 * When that process is gone serving stops: no server outlives its starter.
 */
export function answerParent(host: ServedHost): void {
  if (process.send === undefined) return;
  const send = (answer: IpcAnswer) => {
    if (process.connected) process.send?.(answer);
  };
  process.on('message', ({ id, request }: ToServer) => {
    host.ask(request).then(
      (value) => send({ type: 'answer', id, value }),
      (error: unknown) => {
        const { code, message, hint } = toFault(error);
        send({ type: 'refusal', id, error: { code, message, hint } });
      },
    );
  });
  process.once('disconnect', () => void host.stop());
  // An open channel would keep the process alive.
  void host.ended.then(() => process.connected && process.disconnect());
  send({ type: 'ready' });
}
