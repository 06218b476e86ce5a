// Look at: the server renders the first page from its own database; the browser's database takes over from there.
import { eq } from "drizzle-orm";
import { cookies } from "next/headers";
import { redirect } from "next/navigation";
import { App } from "@/components/app";
import { Avatar } from "@/components/parts";
import { personOf, sealSession, sessionCookie } from "@/server/auth";
import { db } from "@/server/db";
import { allPeople, listsOf, membersOf, todosOf } from "@/shared/queries";
import { users } from "@/shared/schema";

/** Signing in is picking a person. The cookie is signed, so nobody becomes somebody else by editing it. */
async function signIn(form: FormData) {
  "use server";
  const chosen = form.get("person");
  const person =
    typeof chosen === "string" && db.select({ id: users.id }).from(users).where(eq(users.id, chosen)).get();
  if (person) (await cookies()).set(await sealSession(person.id));
  redirect("/");
}

async function signOut() {
  "use server";
  (await cookies()).delete(sessionCookie);
  redirect("/");
}

export default async function Page({ searchParams }: { searchParams: Promise<{ list?: string }> }) {
  const me = await personOf((await cookies()).get(sessionCookie)?.value);
  const people = await allPeople(db);
  if (!me) {
    return (
      <main className="sign-in">
        <h1 className="wordmark">Tandem</h1>
        <p>Shared lists that keep working when the network does not. Who are you today?</p>
        <form action={signIn}>
          {people.map((person) => (
            <button key={person.id} name="person" value={person.id} className="person">
              <Avatar person={person} />
              {person.name}
            </button>
          ))}
        </form>
        <p className="hint">To be two people at once, open a second browser or a private window.</p>
      </main>
    );
  }

  const lists = await listsOf(db, me.id);
  const wanted = (await searchParams).list;
  // The address is input like any other: only a list of this person's own is read.
  const listId = (wanted ? lists.find(({ id }) => id === wanted) : lists[0])?.id;
  const initial = {
    people,
    lists,
    listId,
    members: listId ? await membersOf(db, listId) : [],
    todos: listId ? await todosOf(db, listId) : [],
  };
  return <App key={me.id} me={me} initial={initial} signOut={signOut} />;
}
