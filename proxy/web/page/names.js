// Whose tools, prompts and resources these are: a public name alone does not tell its server, nor its own name for it.

import { api } from "./session.js";

const MEMBERS = { tools: "tool_names", prompts: "prompt_names", resources: "resource_names" };
let owners = {}; // by kind: public name -> [server, its own name]

export async function learnNames() {
  const { servers } = await api("/servers");
  const named = (member) => new Map(servers.flatMap((server) => Object.entries(server[member]).map(([name, own]) => [name, [server.key, own]])));
  owners = Object.fromEntries(Object.entries(MEMBERS).map(([kind, member]) => [kind, named(member)]));
}

/** [server, own name] of an entry, or undefined where that is not known (yet). */
export const ownerOf = (kind, name) => owners[kind]?.get(name);

/** The public name of the tool that a server calls so; undefined where it has no such tool (any more). */
export async function publicName(server, own) {
  const find = () => [...(owners.tools ?? [])].find(([, [key, name]]) => key === server && name === own)?.[0];
  if (find() === undefined) await learnNames();
  return find();
}
