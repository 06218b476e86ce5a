/**
 * An event source over `fetch`, for runtimes that have none: as much of the standard as tRPC's subscription link uses.
 *
 * @module
 */

interface SourceEvent {
  readonly type: string;
  readonly data?: string;
  readonly lastEventId?: string;
}
type Listener = (event: SourceEvent) => void;

const reconnectMs = 50;

export class FetchEventSource {
  readonly CONNECTING = 0;
  readonly OPEN = 1;
  readonly CLOSED = 2;
  readyState = 0;
  readonly #url: string;
  readonly #listeners = new Map<string, Set<Listener>>();
  readonly #controller = new AbortController();
  #lastEventId = "";

  constructor(url: string, _init?: object) {
    this.#url = url;
    void this.#run();
  }

  addEventListener(type: string, listener: Listener): void {
    const listeners = this.#listeners.get(type) ?? new Set();
    listeners.add(listener);
    this.#listeners.set(type, listeners);
  }

  removeEventListener(type: string, listener: Listener): void {
    this.#listeners.get(type)?.delete(listener);
  }

  close(): void {
    this.readyState = this.CLOSED;
    this.#controller.abort();
  }

  #emit(event: SourceEvent): void {
    for (const listener of this.#listeners.get(event.type) ?? []) listener(event);
  }

  async #run(): Promise<void> {
    while (this.readyState !== this.CLOSED) {
      this.readyState = this.CONNECTING;
      const isFatal = await this.#connect();
      if (this.#controller.signal.aborted) return;
      this.readyState = isFatal ? this.CLOSED : this.CONNECTING;
      this.#emit({ type: "error" });
      if (!isFatal) await new Promise((resolve) => setTimeout(resolve, reconnectMs));
    }
  }

  /** Reads one connection to its end; true when the standard says not to come back. */
  async #connect(): Promise<boolean> {
    try {
      const headers = this.#lastEventId === "" ? {} : { "last-event-id": this.#lastEventId };
      const response = await fetch(this.#url, { headers, signal: this.#controller.signal });
      if (!response.ok || response.body === null) {
        await response.body?.cancel();
        return true;
      }
      this.readyState = this.OPEN;
      this.#emit({ type: "open" });
      let rest = "";
      const decoder = new TextDecoder();
      for await (const chunk of response.body) {
        rest += decoder.decode(chunk, { stream: true });
        const blocks = rest.split("\n\n");
        rest = blocks.pop() ?? "";
        for (const block of blocks) this.#dispatch(block);
      }
      return false;
    } catch {
      // The connection failed: the standard says to try again.
      return false;
    }
  }

  #dispatch(block: string): void {
    let type = "message";
    const data: string[] = [];
    for (const line of block.split("\n")) {
      const [name = "", ...parts] = line.split(":");
      const value = parts.join(":").replace(/^ /, "");
      if (name === "event") type = value;
      if (name === "data") data.push(value);
      if (name === "id") this.#lastEventId = value;
    }
    if (data.length > 0) this.#emit({ type, data: data.join("\n"), lastEventId: this.#lastEventId });
  }
}
