/** One kind of event with any number of listeners; library code reports through these, not by printing. */
export class EventChannel<T> {
  readonly #listeners = new Set<(event: T) => void>();

  /** Calls `listener` for every later event; the returned function ends that. */
  on(listener: (event: T) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Hands `event` to every listener, in the order they came. */
  emit(event: T): void {
    for (const listener of this.#listeners) listener(event);
  }
}
