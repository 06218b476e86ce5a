// Look at: migrations run when the server starts, before the first request.
export async function register() {
  if (process.env["NEXT_RUNTIME"] !== "nodejs") return;
  const { prepareDatabase } = await import("./server/seed");
  await prepareDatabase();
}
