// Look at: the first start fills an empty database with three people and what they are busy with. Ordinary inserts.
import { comments, lists, members, todos, users } from "@/shared/schema";
import { db } from "./db";

const ada = "5f0c6c1e-7a54-4d0e-9a38-1f6f0a1d1001";
const ben = "5f0c6c1e-7a54-4d0e-9a38-1f6f0a1d1002";
const chloe = "5f0c6c1e-7a54-4d0e-9a38-1f6f0a1d1003";

interface Seed {
  title: string;
  hue: number;
  members: string[];
  tasks: {
    title: string;
    by?: string;
    for?: string;
    notes?: string;
    done?: true;
    priority?: "low" | "high";
    comments?: [author: string, body: string][];
  }[];
}

const seeds: Seed[] = [
  {
    title: "Kitchen renovation",
    hue: 155,
    members: [ada, ben],
    tasks: [
      { title: "Measure the wall behind the stove", for: ada, done: true },
      {
        title: "Ask three carpenters for a quote",
        for: ben,
        done: true,
        comments: [[ben, "Two answered, the third is on holiday until Monday."]],
      },
      {
        title: "Choose tiles",
        for: ada,
        priority: "high",
        notes: "Samples are on the window sill.\nNothing glossy, the morning sun is blinding.",
        comments: [
          [ben, "The grey-green ones look best in the evening."],
          [ada, "Agreed. Ordering a second sample to be sure."],
        ],
      },
      { title: "Order the worktop", by: ben, for: ben, notes: "Oak, 38 mm. Delivery takes about four weeks." },
      { title: "Move the socket next to the sink", by: ben, notes: "Needs an electrician." },
      {
        title: "Find a home for the old cupboards",
        priority: "low",
        comments: [[ben, "My sister would take two of them."]],
      },
    ],
  },
  {
    title: "Lisbon in May",
    hue: 42,
    members: [ben, ada, chloe],
    tasks: [
      { title: "Book the train to the airport", for: ben, done: true },
      {
        title: "Find a flat near Graça",
        for: chloe,
        priority: "high",
        notes: "Three bedrooms, or two and a sofa bed.",
        comments: [
          [chloe, "There is one with a terrace for the same price."],
          [ada, "The terrace, please!"],
        ],
      },
      { title: "Reserve a table for Friday", by: chloe, notes: "Somewhere with grilled fish." },
      {
        title: "Check that passports are still valid",
        by: ada,
        comments: [[ben, "Mine runs out in August, close enough."]],
      },
      { title: "Make a list of viewpoints", by: chloe, for: chloe, priority: "low" },
    ],
  },
  {
    title: "Weekly shop",
    hue: 265,
    members: [ada, ben, chloe],
    tasks: [
      { title: "Coffee beans", done: true },
      { title: "Oat milk, two", by: chloe },
      { title: "Lemons", by: ben },
      { title: "Dishwasher tablets", for: ben, priority: "high" },
      { title: "Something for dessert on Sunday", by: chloe, comments: [[chloe, "Not cake again."]] },
    ],
  },
  {
    title: "Reading group",
    hue: 320,
    members: [chloe, ada],
    tasks: [
      { title: "Choose the book for next month", notes: "Short list: The Summer Book, Stoner, Austerlitz." },
      { title: "Ask the library about the side room", for: ada },
      { title: "Send round the notes from last time", done: true },
    ],
  },
];

export async function prepareDatabase() {
  await db.$sync.migrate("drizzle");
  if (db.select().from(users).limit(1).get()) return;
  // Times a minute apart, so that everything has an order.
  let time = Date.now() - 3 * 24 * 60 * 60 * 1000;
  const next = () => new Date((time += 60_000));
  db.transaction((tx) => {
    tx.insert(users)
      .values([
        { id: ada, name: "Ada", hue: 320, email: "ada@example.com" },
        { id: ben, name: "Ben", hue: 200, email: "ben@example.com" },
        { id: chloe, name: "Chloe", hue: 65, email: "chloe@example.com" },
      ])
      .run();
    for (const seed of seeds) {
      const ownerId = seed.members[0] ?? ada;
      const list = tx
        .insert(lists)
        .values({ title: seed.title, hue: seed.hue, ownerId, createdAt: next() })
        .returning()
        .get();
      tx.insert(members)
        .values(seed.members.map((userId) => ({ listId: list.id, userId })))
        .run();
      for (const task of seed.tasks) {
        const { id } = tx
          .insert(todos)
          .values({
            listId: list.id,
            title: task.title,
            notes: task.notes ?? "",
            done: task.done ?? false,
            priority: task.priority ?? "normal",
            assigneeId: task.for ?? null,
            createdBy: task.by ?? ownerId,
            createdAt: next(),
          })
          .returning()
          .get();
        for (const [authorId, body] of task.comments ?? [])
          tx.insert(comments).values({ todoId: id, authorId, body, createdAt: next() }).run();
      }
    }
  });
}
