/**
 * Installs what is missing, so that `npm test` works on a fresh clone. Compares the lock file with the record that npm
 * keeps in `node_modules`; runs npm when a package is absent or has another version. Optional packages may be
 * absent: they are those of other platforms.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";

const root = new URL("../", import.meta.url);

/** The packages of a lock file by their path, without the project itself. */
function packagesOf(file) {
  const { packages } = JSON.parse(readFileSync(new URL(file, root), "utf8"));
  return Object.entries(packages).filter(([path]) => path !== "");
}

function missing() {
  if (!existsSync(new URL("node_modules/.package-lock.json", root))) return ["node_modules"];
  const installed = new Map(packagesOf("node_modules/.package-lock.json"));
  return packagesOf("package-lock.json")
    .filter(([path, wanted]) => {
      const found = installed.get(path);
      return found === undefined ? wanted.optional !== true : found.version !== wanted.version;
    })
    .map(([path]) => path);
}

const absent = missing();
if (absent.length > 0) {
  console.log(
    `Installing: ${absent.slice(0, 3).join(", ")}${absent.length > 3 ? ` and ${absent.length - 3} more` : ""}.`,
  );
  // Not `npm ci`: it refuses a lock without packages for other platforms that a registry does not have. Versions are the
  // lock's all the same, and the lock stays as it is.
  const { status } = spawnSync("npm", ["install", "--no-save", "--no-audit", "--no-fund"], {
    cwd: root,
    stdio: "inherit",
  });
  if (status !== 0) process.exit(status ?? 1);
}
