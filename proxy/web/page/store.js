// What the page knows of the hub, from /live alone. Views listen; nothing here touches the document.

import { api, Backoff, openSocket, Unauthorized } from "./session.js";

const MOST_CALLS = 1000;
const MOST_LINES = 500;

class Store extends EventTarget {
  servers = new Map();
  order = [];
  calls = []; // the newest first
  underWay = [];
  inFlight = 0;
  clients = 0;
  problem = ""; // why the configuration file can't be used as it is, in lines
  missed = 0;
  version = "";
  output = { server: "", lines: [] };
  connection = "connecting"; // "live", "lost", "out" (the token is not taken)
  retryAt = 0;
  #skew = 0;
  #socket = null;
  #timer = 0;
  #backoff = new Backoff();
  #watched = null;

  /** The hub's time: its clock may differ from this machine's. */
  now() {
    return Date.now() / 1000 + this.#skew;
  }

  list() {
    return this.order.map((key) => this.servers.get(key)).filter(Boolean);
  }

  connect() {
    clearTimeout(this.#timer);
    this.#socket?.close();
    const socket = (this.#socket = openSocket("/live"));
    socket.onmessage = (event) => this.#take(JSON.parse(event.data));
    socket.onclose = () => {
      if (socket === this.#socket) this.#lost();
    };
  }

  stop() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  /** What this server prints is wanted; null: no server's. */
  watch(key) {
    this.#watched = key;
    this.output = { server: key ?? "", lines: [] };
    this.#tellWatched();
  }

  #tellWatched() {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ watch: this.#watched }));
  }

  #take(message) {
    this.#skew = message.now - Date.now() / 1000;
    if (message.type === "snapshot") {
      this.servers.clear();
      this.calls = [];
      this.missed = 0;
      this.version = message.version;
      this.output = { server: this.#watched ?? "", lines: [] };
      this.#backoff.reset();
      if (this.#watched !== null) this.#tellWatched();
      this.#is("live");
      this.#recall();
    }
    const said = new Set();
    if (message.servers) {
      for (const row of message.servers) this.#server(row);
      said.add("servers");
    }
    if (message.order) {
      this.order = message.order;
      for (const key of [...this.servers.keys()]) if (!this.order.includes(key)) this.servers.delete(key);
      said.add("servers");
    }
    if (message.problem !== undefined) {
      this.problem = message.problem;
      said.add("servers");
    }
    if (message.clients !== undefined) {
      this.clients = message.clients;
      said.add("servers");
    }
    if (message.under_way) {
      this.underWay = message.under_way;
      said.add("calls");
    }
    if (message.in_flight !== undefined) {
      this.inFlight = message.in_flight;
      said.add("servers");
    }
    if (message.calls) {
      this.calls = [...message.calls.reverse(), ...this.calls].slice(0, MOST_CALLS);
      this.missed += message.type === "snapshot" ? 0 : message.missed;
      said.add("calls");
    }
    if (message.output && message.output.server === this.output.server) {
      this.output.lines = [...this.output.lines, ...message.output.lines].slice(-MOST_LINES);
      said.add("output");
    }
    for (const name of said) this.dispatchEvent(new Event(name));
  }

  /** A snapshot has the last calls alone; the hub keeps more. */
  async #recall() {
    try {
      const { calls } = await api(`/calls?limit=${MOST_CALLS}`);
      const oldest = this.calls.at(-1)?.number ?? Infinity;
      this.calls = [...this.calls, ...calls.filter((call) => call.number < oldest)].slice(0, MOST_CALLS);
      this.dispatchEvent(new Event("calls"));
    } catch {
      // What is shown is shorter, and the next connection asks again.
    }
  }

  #server(row) {
    const before = this.servers.get(row.key);
    this.servers.set(row.key, row);
    if (before && before.state !== row.state) this.dispatchEvent(new CustomEvent("state", { detail: row }));
  }

  async #lost() {
    this.#is(this.connection === "connecting" ? "connecting" : "lost");
    try {
      await api("/calls?limit=1");
    } catch (problem) {
      if (problem instanceof Unauthorized) {
        this.#is("out", problem.message);
        return;
      }
    }
    if (this.#socket === null) return;
    const wait = this.#backoff.next();
    this.retryAt = Date.now() + wait;
    this.#is("lost");
    this.#timer = setTimeout(() => this.connect(), wait);
  }

  #is(connection, reason = "") {
    this.connection = connection;
    this.dispatchEvent(new CustomEvent("connection", { detail: reason }));
  }
}

export const store = new Store();
