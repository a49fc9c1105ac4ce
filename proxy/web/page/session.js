// Who we are to the hub: the token, which is kept for this tab alone unless it is to be remembered, and stands in no URL.

const KEY = "mcp-manifold-token";
const PROTOCOL = "mcp";

let token = null;
try {
  token = sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);
} catch {
  // Storage is switched off: the token is asked for again after a reload.
}

export class Unauthorized extends Error {}

/** The hub answered that it won't; `message` is its reason. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Keep this token for the tab, or for this browser where it is to be remembered; null: forget it everywhere. */
export function keep(value, { remember = false } = {}) {
  token = value;
  try {
    sessionStorage.removeItem(KEY);
    if (value === null || remember) localStorage.removeItem(KEY);
    if (value !== null) (remember ? localStorage : sessionStorage).setItem(KEY, value);
  } catch {
    // It is kept as long as the page is.
  }
}

/** Ask the hub over REST; the decoded answer. Throws Unauthorized, Refused, and TypeError where nobody is there. */
export async function api(path, { method = "GET", headers = {} } = {}) {
  const answer = await fetch(path, {
    method,
    cache: "no-store",
    headers: { ...headers, ...(token === null ? {} : { Authorization: `Bearer ${token}` }) },
  });
  const body = await answer.json().catch(() => null);
  if (answer.status === 401) throw new Unauthorized(body?.detail ?? "the hub asks for a token");
  if (!answer.ok) throw new Refused(answer.status, body?.detail ?? `the hub answered ${answer.status}`);
  return body;
}

/** Trade a one-time code for the token; without one, learn whether a token is needed at all. */
export async function login(code) {
  const answer = await fetch("/login", {
    method: "POST",
    cache: "no-store",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(code ? { code } : {}),
  });
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Unauthorized(body?.detail ?? `the hub answered ${answer.status}`);
  keep(body.token);
}

export const hasToken = () => token !== null;

export function openSocket(path) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  return new WebSocket(url, token === null ? [PROTOCOL] : [PROTOCOL, `bearer.${token}`]);
}

/** How long to wait before the next try: longer each time, and never the same for many pages at a time. */
export class Backoff {
  constructor() {
    this.tries = 0;
  }
  next() {
    this.tries += 1;
    return Math.min(10_000, 400 * 2 ** (this.tries - 1)) * (0.6 + 0.4 * Math.random());
  }
  reset() {
    this.tries = 0;
  }
}
