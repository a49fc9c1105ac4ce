// Whose tools these are: a public name alone does not tell its server, nor the server's own name for it.

import { api } from "./session.js";

let owners = new Map(); // public name -> [server, its own name]

export async function learnNames() {
  const { servers } = await api("/servers");
  owners = new Map(servers.flatMap((server) => Object.entries(server.tool_names).map(([name, own]) => [name, [server.key, own]])));
}

/** [server, own name] of a tool, or undefined where that is not known (yet). */
export const ownerOf = (name) => owners.get(name);

/** The public name of what a server calls so; undefined where it has no such tool (any more). */
export async function publicName(server, own) {
  const find = () => [...owners].find(([, [key, name]]) => key === server && name === own)?.[0];
  if (find() === undefined) await learnNames();
  return find();
}
