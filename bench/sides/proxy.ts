/** Puts a server under `/api/sync` of a site, beside texts under paths of their own. */
import { Agent, request, type RequestListener } from "node:http";

const agent = new Agent({ keepAlive: true });

/** Passes requests on as they are. */
export function proxyTo(url: string, texts: Readonly<Record<string, string>>): RequestListener {
  return (incoming, outgoing) => {
    const path = incoming.url ?? "/";
    const text = texts[path];
    if (text !== undefined) {
      outgoing.end(text);
      return;
    }
    const passed = request(
      url + path.replace(/^\/api\/sync/, ""),
      { method: incoming.method, headers: incoming.headers, agent },
      (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(outgoing);
      },
    );
    passed.on("error", () => outgoing.destroy());
    outgoing.on("close", () => passed.destroy());
    incoming.pipe(passed);
  };
}
