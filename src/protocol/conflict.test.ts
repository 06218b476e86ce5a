import { describe, expect, expectTypeOf, test } from "vitest";
import {
  clientWins,
  composite,
  type Conflict,
  custom,
  lastWriteWins,
  mergeFields,
  NEED_ROW,
  resolve,
  type Resolver,
  serverWins,
} from "./conflict.ts";

interface Todo {
  readonly id: string;
  readonly title: string;
  readonly notes: string | null;
  readonly done: boolean;
}

const base: Todo = { id: "1", title: "base", notes: "base", done: false };
const server: Todo = { ...base, title: "server", notes: "server" };

/** The device changed title, notes and done; the server title and notes. */
const update: Conflict<Todo> = {
  kind: "update",
  table: "todos",
  columns: ["title", "notes"],
  changed: ["title", "notes", "done"],
  base: { title: "base", notes: "base", done: false },
  client: { ...server, title: "client", notes: "client", done: true },
  server,
  isWhole: false,
  clientTime: 100,
  serverTimes: new Map([
    ["title", 50],
    ["notes", 150],
    ["done", 500],
  ]),
  context: { subject: "ann" },
};
const gone: Conflict<Todo> = {
  ...update,
  columns: [],
  server: null,
  client: { ...base, title: "client" },
  serverTimes: new Map([["", 50]]),
};
const remove: Conflict<Todo> = { ...update, kind: "delete", columns: [], changed: [], client: null };
const { base: _, ...rest } = update;
const insert: Conflict<Todo> = { ...rest, kind: "insert", columns: [] };
const unique: Conflict<Todo> = { ...rest, kind: "unique", columns: ["title"], server: { ...server, id: "2" } };

describe("the whole row", () => {
  test("server wins: the row stays, and the device's change is set aside", () => {
    for (const conflict of [update, gone, remove, insert]) expect(resolve(serverWins<Todo>(), conflict)).toBe("server");
  });

  test("client wins: the device's change is made", () => {
    for (const conflict of [update, remove, insert]) expect(resolve(clientWins<Todo>(), conflict)).toBe("client");
  });

  test("P6: client wins asks for the whole row before it brings one back", () => {
    expect(resolve(clientWins<Todo>(), gone)).toBe(NEED_ROW);
    expect(resolve(clientWins<Todo>(), { ...gone, isWhole: true })).toBe("client");
  });
});

describe("last write wins", () => {
  test("P11: each column goes to its later writer, and a column that only the device changed is the device's", () => {
    expect(resolve(lastWriteWins<Todo>(), update)).toEqual({ ...server, title: "client", notes: "server", done: true });
  });

  test("P11: when the device is later in every column, it is its change as written; when in none, the row stays", () => {
    expect(resolve(lastWriteWins<Todo>(), { ...update, clientTime: 200 })).toBe("client");
    expect(
      resolve(lastWriteWins<Todo>(), {
        ...update,
        clientTime: 10,
        changed: ["title", "notes"],
        client: { ...server, title: "client", notes: "client" },
      }),
    ).toBe("server");
    expect(resolve(lastWriteWins<Todo>(), { ...update, clientTime: 10 })).toEqual({ ...server, done: true });
  });

  test("P11: at the same time the server wins", () => {
    const tie = {
      ...update,
      columns: ["title"],
      changed: ["title"],
      client: { ...server, title: "client" },
      clientTime: 50,
    } as const;
    expect(resolve(lastWriteWins<Todo>(), tie)).toBe("server");
    expect(resolve(lastWriteWins<Todo>(), { ...tie, clientTime: 51 })).toBe("client");
  });

  test("P11: what the log does not reach any more is older than anything", () => {
    expect(resolve(lastWriteWins<Todo>(), { ...update, clientTime: 0, serverTimes: new Map() })).toBe("client");
    expect(resolve(lastWriteWins<Todo>(), { ...remove, clientTime: 0, serverTimes: new Map() })).toBe("client");
  });

  test("P11: a delete competes with the latest write of any column", () => {
    expect(resolve(lastWriteWins<Todo>(), { ...remove, clientTime: 499 })).toBe("server");
    expect(resolve(lastWriteWins<Todo>(), { ...remove, clientTime: 501 })).toBe("client");
  });

  test("P11: an insert of a key that is taken competes with the latest write of the row, wherever that stands", () => {
    const times = new Map([...update.serverTimes].reverse());
    for (const serverTimes of [update.serverTimes, times]) {
      expect(resolve(lastWriteWins<Todo>(), { ...insert, serverTimes, clientTime: 499 })).toBe("server");
      expect(resolve(lastWriteWins<Todo>(), { ...insert, serverTimes, clientTime: 501 })).toBe("client");
    }
  });

  test("P11: without two rows there are no columns to choose from, whatever the conflict names", () => {
    const named = { columns: ["title"], clientTime: 100 } as const;
    expect(resolve(lastWriteWins<Todo>(), { ...remove, ...named })).toBe("server");
    expect(resolve(lastWriteWins<Todo>(), { ...gone, ...named, isWhole: true })).toBe("client");
    expect(resolve(mergeFields<Todo>({ title: serverWins() }, clientWins()), { ...remove, ...named })).toBe("client");
  });

  test("P11: an update of a row that is gone competes with its delete, and brings the row back whole", () => {
    expect(resolve(lastWriteWins<Todo>(), { ...gone, clientTime: 50 })).toBe("server");
    expect(resolve(lastWriteWins<Todo>(), gone)).toBe(NEED_ROW);
    expect(resolve(lastWriteWins<Todo>(), { ...gone, isWhole: true })).toBe("client");
  });
});

describe("merge fields", () => {
  test("columns changed on one side merge by themselves, those changed on both have their own resolver", () => {
    expect(resolve(mergeFields<Todo>({ notes: clientWins() }), update)).toEqual({
      ...server,
      title: "server",
      notes: "client",
      done: true,
    });
    expect(resolve(mergeFields<Todo>({}), update)).toEqual({ ...server, done: true });
  });

  test("the fallback governs the other columns, deletes, and rows that are gone", () => {
    const merge = mergeFields<Todo>({ notes: serverWins() }, clientWins());
    expect(resolve(merge, update)).toEqual({ ...server, title: "client", notes: "server", done: true });
    expect(resolve(merge, remove)).toBe("client");
    expect(resolve(merge, gone)).toBe(NEED_ROW);
    expect(resolve(merge, insert)).toBe("client");
  });

  test("it is the device's change as written when the device wins every column, and the row as it is when nothing is left of it", () => {
    expect(resolve(mergeFields<Todo>({ notes: clientWins(), title: clientWins() }), update)).toBe("client");
    expect(
      resolve(mergeFields<Todo>({}), {
        ...update,
        changed: ["title", "notes"],
        client: { ...server, title: "client", notes: "client" },
      }),
    ).toBe("server");
  });

  test("a column's resolver sees that column alone, and its value is taken from the row it answers", () => {
    const seen: (readonly string[])[] = [];
    const append = custom<Todo>((conflict) => {
      seen.push(conflict.columns);
      return { ...server, title: "not this one", notes: `${conflict.server?.notes}+${conflict.client?.notes}` };
    });
    expect(resolve(mergeFields<Todo>({ notes: append }), update)).toEqual({
      ...server,
      title: "server",
      notes: "server+client",
      done: true,
    });
    expect(seen).toEqual([["notes"]]);
  });

  test("P6: a column's resolver that cannot do without what was not sent makes the server ask", () => {
    const merge = mergeFields<Todo>({ notes: custom(() => "client") });
    const hashed: Conflict<Todo> = { ...update, base: { title: "base", done: false } };
    expect(resolve(merge, hashed)).toBe(NEED_ROW);
    expect(resolve(merge, { ...hashed, isWhole: true })).toEqual({ ...server, notes: "client", done: true });
    expect(resolve(merge, { ...hashed, columns: ["title"] })).toEqual({ ...server, notes: "client", done: true });
  });
});

describe("custom", () => {
  test("a row is taken as it stands; one of the two rows, or its absence, means its side", () => {
    const merged = { ...server, title: "both" };
    expect(
      resolve(
        custom<Todo>(() => merged),
        update,
      ),
    ).toBe(merged);
    expect(
      resolve(
        custom<Todo>((conflict) => conflict.client),
        update,
      ),
    ).toBe("client");
    expect(
      resolve(
        custom<Todo>((conflict) => conflict.server),
        update,
      ),
    ).toBe("server");
    expect(
      resolve(
        custom<Todo>((conflict) => conflict.server),
        { ...gone, isWhole: true },
      ),
    ).toBe("server");
    expect(
      resolve(
        custom<Todo>((conflict) => conflict.client),
        { ...remove, isWhole: true },
      ),
    ).toBe("client");
  });

  test("P6: it runs only when everything it may look at was sent", () => {
    let runs = 0;
    const counting = custom<Todo>(() => {
      runs++;
      return "server";
    });
    const { base: __, ...unknown } = update;
    for (const conflict of [gone, remove, unknown, { ...update, base: { title: "base" } }])
      expect(resolve(counting, conflict)).toBe(NEED_ROW);
    expect(runs).toBe(0);
    for (const conflict of [
      update,
      insert,
      { ...gone, isWhole: true },
      { ...remove, isWhole: true },
      { ...unknown, isWhole: true },
    ])
      expect(resolve(counting, conflict)).toBe("server");
    expect(runs).toBe(5);
  });

  test.each([[undefined], [1], ["both"], [[]], [Promise.resolve("server")]])(
    "what is no resolution (%s) throws",
    (answer) => {
      expect(() =>
        resolve(
          custom<Todo>(() => answer as never),
          update,
        ),
      ).toThrow("`custom`");
    },
  );

  test("a promise throws, says so, and is not left behind as a rejection that nobody handles", async () => {
    for (const answer of [() => Promise.resolve("server"), () => Promise.reject(new Error("late"))]) {
      expect(() =>
        resolve(
          custom<Todo>(() => answer() as never),
          update,
        ),
      ).toThrow("The resolver `custom` of table `todos` returned a promise.");
      await new Promise((done) => setImmediate(done));
    }
  });

  test("null throws where both rows are there", () => {
    expect(() =>
      resolve(
        custom<Todo>(() => null),
        update,
      ),
    ).toThrow("The resolver `custom` of table `todos`");
  });

  test("a row may have a column called `then`", () => {
    // oxlint-disable-next-line unicorn/no-thenable -- that is what is tested: a value, not a function.
    const row = { ...server, then: "later" };
    expect(
      resolve(
        custom<Todo>(() => row),
        update,
      ),
    ).toBe(row);
  });
});

describe("composite", () => {
  const makeByKind = (): Resolver<Todo> => composite<Todo>({ update: clientWins(), delete: lastWriteWins() });

  test("each kind has its own resolver, and server wins for the others", () => {
    const byKind = makeByKind();
    expect(resolve(byKind, update)).toBe("client");
    expect(resolve(byKind, { ...remove, clientTime: 501 })).toBe("client");
    expect(resolve(byKind, insert)).toBe("server");
  });

  test("P4: a unique clash is decided only where there is a resolver for it", () => {
    const byKind = makeByKind();
    expect(byKind.unique).toBeUndefined();
    expect(resolve(byKind, unique)).toBe("server");
    expect(resolve(clientWins<Todo>(), unique)).toBe("server");
    const renamed = composite<Todo>({
      unique: custom(({ client }) => client && { ...client, title: `${client.title} (2)` }),
    });
    expect(renamed.unique).toBeDefined();
    expect(resolve(renamed, unique)).toMatchObject({ title: "client (2)" });
    // The two are different rows: columns of one are never put into the other.
    const later = composite<Todo>({ unique: lastWriteWins() });
    expect(resolve(later, { ...unique, clientTime: 499 })).toBe("server");
    expect(resolve(later, { ...unique, clientTime: 501 })).toBe("client");
  });
});

test("P11: a resolver needs the log's times exactly when one within it compares or may look at them", () => {
  expect(serverWins().needs).toEqual({ base: false, times: false });
  expect(mergeFields({ notes: clientWins() }).needs).toEqual({ base: false, times: false });
  expect(mergeFields({ notes: lastWriteWins() }).needs).toEqual({ base: false, times: true });
  expect(
    mergeFields(
      {},
      custom(() => "server"),
    ).needs,
  ).toEqual({ base: true, times: true });
  expect(composite({ unique: lastWriteWins() }).needs.times).toBe(true);
  expect(composite({ unique: lastWriteWins(), update: clientWins() }).needs).toEqual({ base: false, times: true });
  expect(mergeFields({ notes: custom(() => "server") }, serverWins()).needs).toEqual({ base: true, times: true });
});

test("a resolver that is left out by a condition is none", () => {
  // What a caller without types can write.
  const none = { update: undefined, notes: undefined } as never;
  expect(composite<Todo>(none).needs).toEqual({ base: false, times: false });
  expect(resolve(composite<Todo>(none), update)).toBe("server");
  expect(resolve(mergeFields<Todo>(none, clientWins()), update)).toBe("client");
});

test("a resolver has a name, by which messages tell it", () => {
  const names = [serverWins(), clientWins(), lastWriteWins(), custom(() => "server"), mergeFields({}), composite({})];
  expect(names.map(({ name }) => name)).toEqual([
    "serverWins",
    "clientWins",
    "lastWriteWins",
    "custom",
    "mergeFields",
    "composite",
  ]);
});

// What defineSync does: the row type of each table, inferred from the schema.
const define = <TTables extends Readonly<Record<string, object>>>(
  _tables: TTables,
  rules: { readonly [TKey in keyof TTables]?: { readonly conflict?: Resolver<TTables[TKey]> } },
) => rules;

describe("types", () => {
  const tables = { todos: base };

  test("a resolver takes its row type from the table it stands in", () => {
    define(tables, {
      todos: {
        conflict: mergeFields(
          {
            notes: lastWriteWins(),
            title: custom((conflict) => {
              expectTypeOf(conflict).toEqualTypeOf<Conflict<Todo>>();
              return conflict.server;
            }),
          },
          clientWins(),
        ),
      },
    });
    define(tables, {
      todos: { conflict: composite({ unique: custom(({ client }) => client && { ...client, title: "x" }) }) },
    });
    // @ts-expect-error `note` is no column of the table
    define(tables, { todos: { conflict: mergeFields({ note: lastWriteWins() }) } });
    // @ts-expect-error a row without `done` is no row of the table
    define(tables, { todos: { conflict: custom(() => ({ id: "1", title: "", notes: null })) } });
  });

  test("a resolver made on its own fits every table", () => {
    const shared = mergeFields({ notes: lastWriteWins() }, clientWins());
    const own = custom(({ server, client }) => server ?? client);
    define(tables, { todos: { conflict: shared } });
    define(tables, { todos: { conflict: own } });
  });
});
