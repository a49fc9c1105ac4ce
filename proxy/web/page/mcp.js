// This page as an MCP client, over /ws: lists what there is, asks for it, and is asked what servers ask of a user.

import { decode, decodeAsWritten } from "./json.js";
import { Backoff, openSocket } from "./session.js";

const PROTOCOL = "2025-11-25";
const REQUEST_PATIENCE = 60_000;
const MOST_ENTRIES = 20_000;

const LISTS = {
  tools: { method: "tools/list", member: "tools" },
  prompts: { method: "prompts/list", member: "prompts" },
  resources: { method: "resources/list", member: "resources" },
  templates: { method: "resources/templates/list", member: "resourceTemplates" },
};
const CHANGED = {
  "notifications/tools/list_changed": ["tools"],
  "notifications/prompts/list_changed": ["prompts"],
  "notifications/resources/list_changed": ["resources", "templates"],
};
const NOT_READ = { entries: null, problem: "" };

/** The answer to a request is an error of JSON-RPC. */
export class CallFailed extends Error {
  constructor(error) {
    super(error.message || "it failed without a reason");
    this.code = error.code;
    this.data = error.data;
  }
}

export class Disconnected extends Error {
  constructor() {
    super("the connection to the hub was lost; whether the call was done is not known");
  }
}

class Client extends EventTarget {
  asked = async () => ({ action: "decline" }); // answers elicitation/create; set by the page
  #socket = null;
  #ready = null;
  #pending = new Map();
  #progress = new Map();
  #ids = 0;
  #backoff = new Backoff();
  #timer = 0;
  #wanted = false;
  #lists = new Map(); // those that somebody wanted to see

  /** Connect, once, and stay so; read these lists, and keep to what they become. */
  open(lists) {
    const fresh = lists.filter((name) => !this.#lists.has(name));
    for (const name of fresh) this.#lists.set(name, NOT_READ);
    if (!this.#wanted) {
      this.#wanted = true;
      this.#connect();
    } else {
      this.#ready?.then(() => fresh.forEach((name) => this.refresh(name)), () => {});
    }
  }

  /** What is known of a list: its entries, or null and perhaps why they could not be read. */
  list(name) {
    return this.#lists.get(name) ?? NOT_READ;
  }

  close() {
    this.#wanted = false;
    clearTimeout(this.#timer);
    this.#socket?.close();
    this.#lists.clear();
  }

  /** Try again now, where the last try failed. */
  retry() {
    if (!this.#wanted || this.#ready !== null) return;
    clearTimeout(this.#timer);
    this.#connect();
  }

  /** Ask. Returns {result, cancel}: a promise, and what ends the request early (the promise then stays open). */
  async ask(method, given, onProgress) {
    if (this.#ready === null) throw new Disconnected();
    await this.#ready;
    const id = ++this.#ids;
    this.#progress.set(id, onProgress);
    const params = { ...given, _meta: { progressToken: id } };
    const result = this.#request(method, params, id, { asWritten: true }).finally(() => this.#progress.delete(id));
    const cancel = () => {
      if (!this.#pending.delete(id)) return;
      this.#progress.delete(id);
      this.#send({ method: "notifications/cancelled", params: { requestId: id, reason: "cancelled on the page" } });
    };
    return { result, cancel };
  }

  #connect() {
    const socket = (this.#socket = openSocket("/ws"));
    this.#ready = new Promise((resolve, reject) => {
      socket.onopen = () => this.#greet().then(resolve, reject);
      socket.onclose = () => {
        reject(new Disconnected());
        this.#lost(socket);
      };
    });
    this.#ready.catch(() => {}); // whoever waits for it is told; if nobody does, that is no error
    socket.onmessage = (event) => this.#take(decode(event.data), event.data);
  }

  async #greet() {
    const capabilities = { elicitation: { form: {}, url: {} } };
    const clientInfo = { name: "mcp-manifold-page", title: "Web page", version: "1" };
    await this.#request("initialize", { protocolVersion: PROTOCOL, capabilities, clientInfo });
    this.#send({ method: "notifications/initialized" });
    this.#backoff.reset();
    for (const name of this.#lists.keys()) this.refresh(name);
  }

  #lost(socket) {
    if (socket !== this.#socket) return;
    this.#ready = null;
    for (const { reject } of this.#pending.values()) reject(new Disconnected());
    this.#pending.clear();
    this.dispatchEvent(new Event("lost"));
    if (this.#wanted) this.#timer = setTimeout(() => this.#connect(), this.#backoff.next());
  }

  /** Read a list again. */
  async refresh(name) {
    const { method, member } = LISTS[name];
    try {
      const entries = [];
      let cursor;
      do {
        const page = await this.#request(method, cursor === undefined ? {} : { cursor }, ++this.#ids, { patience: REQUEST_PATIENCE });
        entries.push(...(page[member] ?? []));
        cursor = page.nextCursor;
      } while (cursor !== undefined && entries.length < MOST_ENTRIES);
      this.#lists.set(name, { entries, problem: "" });
    } catch (problem) {
      if (problem instanceof Disconnected) return;
      this.#lists.set(name, { ...this.list(name), problem: problem.message });
    }
    this.dispatchEvent(new CustomEvent("list", { detail: name }));
  }

  /** `asWritten`: the answer is there to be looked at, and not to be worked with. */
  #request(method, params, id = ++this.#ids, { patience = 0, asWritten = false } = {}) {
    return new Promise((resolve, reject) => {
      const timer = patience ? setTimeout(() => reject(new Error(`${method}: no answer`)), patience) : 0;
      const settle = (how) => (value) => {
        clearTimeout(timer);
        how(value);
      };
      this.#pending.set(id, { asWritten, resolve: settle(resolve), reject: settle(reject) });
      this.#send({ id, method, params });
    });
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ jsonrpc: "2.0", ...message }));
  }

  #take(message, text) {
    if (message.method === undefined) {
      const waiting = this.#pending.get(message.id);
      this.#pending.delete(message.id);
      const said = waiting?.asWritten ? decodeAsWritten(text) : message;
      if (said.error) waiting?.reject(new CallFailed(said.error));
      else waiting?.resolve(said.result);
    } else if (message.id !== undefined) {
      this.#answer(message);
    } else if (message.method === "notifications/progress") {
      this.#progress.get(message.params?.progressToken)?.(message.params);
    } else if (Object.hasOwn(CHANGED, message.method)) {
      for (const name of CHANGED[message.method]) if (this.#lists.has(name)) this.refresh(name);
    } else if (message.method === "notifications/message") {
      this.dispatchEvent(new CustomEvent("log", { detail: message.params ?? {} }));
    } else if (message.method === "notifications/cancelled") {
      this.dispatchEvent(new CustomEvent("withdrawn", { detail: message.params?.requestId }));
    }
  }

  async #answer({ id, method, params }) {
    if (method === "ping") {
      this.#send({ id, result: {} });
    } else if (method === "elicitation/create") {
      const result = await this.asked(params ?? {}, id);
      if (result !== null) this.#send({ id, result });
    } else {
      this.#send({ id, error: { code: -32601, message: `the page can't do ${method}` } });
    }
  }
}

export const mcp = new Client();
