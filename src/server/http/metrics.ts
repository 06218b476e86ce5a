/**
 * Counts requests for Prometheus, through prom-client, which is an optional peer: it is loaded when the first request
 * comes, and only if metrics were asked for. Labels are endpoint, method and status: nothing that names a subject.
 *
 * @module
 */

import { SyncError } from "../../protocol/errors.ts";
import { readRetentionTotals } from "../retention-totals.ts";
import type { Answer } from "./answer.ts";
import type { Endpoint } from "./endpoint.ts";

/** What is used of prom-client's registry. */
export interface MetricsRegistry {
  readonly contentType: string;
  metrics(): Promise<string>;
  getSingleMetric(name: string): unknown;
}

export interface MetricsOptions {
  /** The app's registry of prom-client. @default one of the handler's own */
  readonly registry?: MetricsRegistry;
  /** Who may read `GET /metrics`. @default anybody who reaches it */
  readonly authorize?: (request: Request) => boolean | Promise<boolean>;
  /** Loads prom-client; for bundlers that do not find it by themselves. @default () => import("prom-client") */
  readonly load?: () => Promise<unknown>;
}

/** What is known of a request when it is over. */
export interface RequestRecord {
  /** The method, or `other` for one that no endpoint answers. */
  readonly method: string;
  readonly endpoint: Endpoint | "unknown";
  readonly status: number;
  readonly ms: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

export interface Metrics {
  readonly count: (record: RequestRecord) => void;
  /** Moves the gauge of open streams. */
  readonly streamsChanged: (by: 1 | -1) => void;
  readonly answer: () => Promise<Answer>;
}

interface Counter {
  inc(labels: Readonly<Record<string, string>>, by?: number): void;
  reset(): void;
}
interface Gauge {
  inc(by: number): void;
  set(value: number): void;
}
/** A metric that is asked for its value when it is read. */
interface Asked<T> {
  readonly collect?: (this: T) => void;
}
interface Histogram {
  observe(labels: Readonly<Record<string, string>>, value: number): void;
}
interface MetricConfiguration {
  readonly name: string;
  readonly help: string;
  readonly labelNames?: readonly string[];
  readonly buckets?: readonly number[];
  readonly registers: readonly MetricsRegistry[];
}
/** What is used of prom-client, whose types an app that has no metrics need not install. */
interface PromClient {
  readonly Counter: new (configuration: MetricConfiguration & Asked<Counter>) => Counter;
  readonly Gauge: new (configuration: MetricConfiguration & Asked<Gauge>) => Gauge;
  readonly Histogram: new (configuration: MetricConfiguration) => Histogram;
  readonly Registry: new () => MetricsRegistry;
}

/** Starts counting. */
export async function createMetrics(options: MetricsOptions): Promise<Metrics> {
  const client = await loadPromClient(options.load);
  const registry = options.registry ?? new client.Registry();
  const labelNames = ["endpoint", "method", "status"];
  // A handler that is made again, by hot reload or for a second mount, goes on with the metrics of the first.
  const once = <T>(name: string, make: () => T): T => (registry.getSingleMetric(name) as T | undefined) ?? make();
  const duration = once(
    "drizzle_sync_request_duration_seconds",
    () =>
      new client.Histogram({
        name: "drizzle_sync_request_duration_seconds",
        help: "Time from a request's arrival to its answer; for streams, to their end.",
        labelNames,
        buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30],
        registers: [registry],
      }),
  );
  const counter = (name: string, help: string): Counter =>
    once(name, () => new client.Counter({ name, help, labelNames, registers: [registry] }));
  const received = counter("drizzle_sync_request_bytes_total", "Bytes of request bodies, inflated.");
  const sent = counter("drizzle_sync_answer_bytes_total", "Bytes of answer bodies, as they were sent.");
  const streams = once(
    "drizzle_sync_open_streams",
    () => new client.Gauge({ name: "drizzle_sync_open_streams", help: "Open live streams.", registers: [registry] }),
  );
  once(
    "drizzle_sync_log_trimmed_total",
    () =>
      new client.Counter({
        name: "drizzle_sync_log_trimmed_total",
        help: "Entries that were trimmed from the log by this process.",
        registers: [registry],
        collect() {
          this.reset();
          this.inc({}, readRetentionTotals(Date.now()).trimmed);
        },
      }),
  );
  once(
    "drizzle_sync_log_horizon_age_seconds",
    () =>
      new client.Gauge({
        name: "drizzle_sync_log_horizon_age_seconds",
        help: "How long a device may have been away without fetching its rows anew; the shortest of the databases served.",
        registers: [registry],
        collect() {
          const { horizonAgeMs } = readRetentionTotals(Date.now());
          this.set(horizonAgeMs === undefined ? Number.NaN : horizonAgeMs / 1000);
        },
      }),
  );
  return {
    count({ endpoint, method, status, ms, bytesIn, bytesOut }) {
      const labels = { endpoint, method, status: String(status) };
      duration.observe(labels, ms / 1000);
      received.inc(labels, bytesIn);
      sent.inc(labels, bytesOut);
    },
    streamsChanged: (by) => streams.inc(by),
    async answer() {
      return {
        status: 200,
        headers: new Headers({ "content-type": registry.contentType, "cache-control": "no-store" }),
        body: new TextEncoder().encode(await registry.metrics()),
      };
    },
  };
}

async function loadPromClient(load: MetricsOptions["load"]): Promise<PromClient> {
  try {
    // Bundlers must leave this import alone: they would fail the build of every app that has no prom-client.
    const loaded: unknown = await (load?.() ??
      import(/* webpackIgnore: true */ /* turbopackIgnore: true */ "prom-client"));
    // A CommonJS module may come wrapped.
    const { default: wrapped } = loaded as { readonly default?: PromClient };
    return wrapped ?? (loaded as PromClient);
  } catch (cause) {
    const message = "`metrics` needs the package `prom-client`, which could not be loaded. Install it, or give `load`.";
    throw new SyncError({ code: "INVALID_CONFIG", message, cause });
  }
}
