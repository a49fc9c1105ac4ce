// This page as an MCP client, over /ws: lists tools, calls them, and is asked what servers ask of a user.

import { decode, decodeAsWritten } from "./json.js";
import { Backoff, openSocket } from "./session.js";

const PROTOCOL = "2025-11-25";
const REQUEST_PATIENCE = 60_000;

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
  tools = null; // null: not known yet
  problem = "";
  asked = async () => ({ action: "decline" }); // answers elicitation/create; set by the page
  #socket = null;
  #ready = null;
  #pending = new Map();
  #progress = new Map();
  #ids = 0;
  #backoff = new Backoff();
  #timer = 0;
  #wanted = false;

  /** Connect, once, and stay so. */
  open() {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#connect();
  }

  close() {
    this.#wanted = false;
    clearTimeout(this.#timer);
    this.#socket?.close();
    this.tools = null;
  }

  /** Try again now, where the last try failed. */
  retry() {
    if (!this.#wanted || this.#ready !== null) return;
    clearTimeout(this.#timer);
    this.#connect();
  }

  /** Call a tool. Returns {result, cancel}: a promise, and what ends the call early (the promise then stays open). */
  async call(name, args, onProgress) {
    if (this.#ready === null) throw new Disconnected();
    await this.#ready;
    const id = ++this.#ids;
    this.#progress.set(id, onProgress);
    const params = { name, arguments: args, _meta: { progressToken: id } };
    const result = this.#request("tools/call", params, id).finally(() => this.#progress.delete(id));
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
    this.refresh();
  }

  #lost(socket) {
    if (socket !== this.#socket) return;
    this.#ready = null;
    for (const { reject } of this.#pending.values()) reject(new Disconnected());
    this.#pending.clear();
    this.dispatchEvent(new Event("lost"));
    if (this.#wanted) this.#timer = setTimeout(() => this.#connect(), this.#backoff.next());
  }

  /** Read the list of tools again. */
  async refresh() {
    try {
      const tools = [];
      let cursor;
      do {
        const page = await this.#request("tools/list", cursor === undefined ? {} : { cursor }, ++this.#ids, REQUEST_PATIENCE);
        tools.push(...(page.tools ?? []));
        cursor = page.nextCursor;
      } while (cursor !== undefined && tools.length < 20_000);
      this.tools = tools;
      this.problem = "";
    } catch (problem) {
      if (problem instanceof Disconnected) return;
      this.problem = problem.message;
    }
    this.dispatchEvent(new Event("tools"));
  }

  #request(method, params, id = ++this.#ids, patience = 0) {
    return new Promise((resolve, reject) => {
      const timer = patience ? setTimeout(() => reject(new Error(`${method}: no answer`)), patience) : 0;
      const settle = (how) => (value) => {
        clearTimeout(timer);
        how(value);
      };
      this.#pending.set(id, { method, resolve: settle(resolve), reject: settle(reject) });
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
      // What a tool answers is there to be looked at; all else is to be worked with.
      const said = waiting?.method === "tools/call" ? decodeAsWritten(text) : message;
      if (said.error) waiting?.reject(new CallFailed(said.error));
      else waiting?.resolve(said.result);
    } else if (message.id !== undefined) {
      this.#answer(message);
    } else if (message.method === "notifications/progress") {
      this.#progress.get(message.params?.progressToken)?.(message.params);
    } else if (message.method === "notifications/tools/list_changed") {
      this.refresh();
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
