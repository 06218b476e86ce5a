/** What a tab does in the test of many tabs: two flows write for as long as the tab lives, and say what was acknowledged. */

declare global {
  interface Window {
    /** Provided by the test: the id of a row whose write was acknowledged. */
    acknowledged(id: string): void;
    /** Provided by the test. */
    refused(message: string): void;
  }
}

/** Starts the two flows. A row is whole when it is done. */
export function writeForever({ db, todos, eq }: Pick<Window["t"], "db" | "todos" | "eq">): void {
  const whole = { listId: "l", title: "", done: true };
  const ways = [
    (id: string) =>
      db.transaction(async (tx) => {
        await tx.insert(todos).values({ ...whole, id, done: false });
        await new Promise((resolve) => setTimeout(resolve, 2));
        await tx.update(todos).set({ done: true }).where(eq(todos.id, id));
      }),
    (id: string) =>
      db.batch([
        db.insert(todos).values({ ...whole, id, done: false }),
        db.update(todos).set({ done: true }).where(eq(todos.id, id)),
      ]),
    (id: string) => db.insert(todos).values({ ...whole, id }),
  ];
  const flow = async (): Promise<void> => {
    for (let turn = 0; ; turn++) {
      const id = crypto.randomUUID();
      try {
        await ways[turn % ways.length]?.(id);
        window.acknowledged(id);
      } catch (error) {
        const { message, cause } = error as Error;
        window.refused(cause instanceof Error ? cause.message : message);
      }
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
  };
  void flow();
  void flow();
}
