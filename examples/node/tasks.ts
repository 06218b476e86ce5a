/** Household tasks, as people write them, from a fixed seed. */
import { randomUUID } from "node:crypto";

const verbs = ["Buy", "Repair", "Clean", "Order", "Return", "Sort", "Paint", "Call about", "Measure", "Replace"];
const things = [
  "the kitchen tap",
  "winter tires",
  "a birthday present",
  "the bathroom mirror",
  "library books",
  "cat food",
];
const places = [
  "for the cellar",
  "before the weekend",
  "at the market",
  "for grandmother",
  "in the hallway",
  "with the neighbors",
];
const names = ["Home", "Garden", "Shopping", "Holiday", "Office", "School"];

/** Lists with tasks in them. */
export function household(listCount: number, tasksPerList: number) {
  let state = 42;
  const pick = <T>(items: readonly T[]): T => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return items[Math.floor((state / 2 ** 32) * items.length)] as T;
  };
  const lists = Array.from({ length: listCount }, (_, i) => ({
    id: randomUUID(),
    name: names[i % names.length] ?? "Home",
  }));
  const tasks = lists.flatMap(({ id: listId }) =>
    Array.from({ length: tasksPerList }, () => ({
      id: randomUUID(),
      listId,
      title: `${pick(verbs)} ${pick(things)} ${pick(places)}`,
      done: pick([true, false, false]),
      priority: pick([0, 0, 0, 1, 2]),
      notes: pick([
        null,
        null,
        "Ask for the receipt.",
        "The small one is enough.",
        "Not urgent, but before the holidays.",
      ]),
    })),
  );
  return { lists, tasks };
}
