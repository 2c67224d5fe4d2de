// Requests to the API of this very server. A key stays in the session storage of this tab.

const KEY = "caseworks.key";
const TIMEOUT_MS = 30_000;

/** What the server refused, as an RFC 9457 problem: `status`, `title`, `detail` and the rest. */
export class Problem extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the server answered ${status}`);
    this.name = "Problem";
    this.status = status;
    this.title = problem.title || `HTTP ${status}`;
    this.detail = problem.detail || "";
    this.problem = problem;
  }
}

/** Nobody answered: the network, or the server is gone. */
export class Unreachable extends Error {
  constructor(cause) {
    super("The server cannot be reached.", { cause });
    this.name = "Unreachable";
  }
}

/**
 * `get(path, query)` and `post(path, body)` below `base`; both take an AbortSignal last and raise
 * `Problem`, `Unreachable` or an AbortError. `onDenied` is told of each 401, `onReach` whether
 * the server answered.
 */
export function createApi({ base = "api/v1", onDenied = () => {}, onReach = () => {} } = {}) {
  const headers = () => (api.key ? { Authorization: `Bearer ${api.key}` } : {});

  async function send(path, options, signal) {
    const timed = AbortSignal.timeout(TIMEOUT_MS);
    const until = signal ? AbortSignal.any([signal, timed]) : timed;
    let answer;
    try {
      answer = await fetch(`${base}${path}`, {
        ...options,
        signal: until,
        cache: "no-store",
        credentials: "same-origin",
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      onReach(false);
      throw new Unreachable(error);
    }
    onReach(true);
    const body = await read(answer);
    if (answer.ok) return body;
    if (answer.status === 401) onDenied();
    throw new Problem(
      answer.status,
      body && typeof body === "object" ? body : { detail: String(body ?? "") },
    );
  }

  const api = {
    base,
    headers,
    get key() {
      return stored();
    },
    set key(value) {
      store(value);
    },
    get: (path, query = {}, signal = undefined) =>
      send(
        `${path}${queryOf(query)}`,
        { headers: { Accept: "application/json", ...headers() } },
        signal,
      ),
    post: (path, body = {}, signal = undefined) =>
      send(
        path,
        {
          method: "POST",
          headers: { "Content-Type": "application/json", Accept: "application/json", ...headers() },
          body: JSON.stringify(body),
        },
        signal,
      ),
  };
  return api;
}

/** Path segments of an id from outside. */
export function segment(id) {
  return encodeURIComponent(String(id)).replace(/^\.{1,2}$/, (dots) => "%2E".repeat(dots.length));
}

function queryOf(query) {
  const said = Object.entries(query).filter(
    ([, value]) => value !== null && value !== undefined && value !== "",
  );
  return said.length ? `?${new URLSearchParams(said)}` : "";
}

async function read(answer) {
  const body = await answer.text();
  if (!(answer.headers.get("content-type") ?? "").includes("json")) return body.slice(0, 500);
  try {
    return JSON.parse(body);
  } catch {
    return body.slice(0, 500);
  }
}

let remembered = "";

function stored() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return remembered;
  }
}

function store(value) {
  remembered = value;
  try {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  } catch {
    // Forbidden storage: the key lasts as long as the page.
  }
}
