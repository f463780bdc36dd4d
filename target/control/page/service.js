// Requests to the control interface. The token is kept by the tab (sessionStorage), never in a URL.

const KEY = "odxd control token";

/// What was asked for is refused; `problem` is the document that says why (RFC 9457).
export class Refused extends Error {
  constructor(problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

/// A token is needed, or another one.
export class Unauthorized extends Error {}

export function useToken(token) {
  if (token) sessionStorage.setItem(KEY, token);
  else sessionStorage.removeItem(KEY);
}

export const hasToken = () => sessionStorage.getItem(KEY) !== null;

/// The document that a request gets; null where there is none.
export async function ask(method, path, body) {
  const headers = {};
  const token = sessionStorage.getItem(KEY);
  // A header has bytes: what is no Latin-1 cannot be the token.
  if (token) headers.Authorization = `Bearer ${token.replace(/[^\x21-\x7e]/g, "?")}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store",
    credentials: "omit", redirect: "error",
  });
  if (answer.status === 401) throw new Unauthorized("a token is needed");
  if (answer.status === 204) return null;
  const text = await answer.text();
  let document = null;
  try {
    document = JSON.parse(text);
  } catch {
    throw new Refused({detail: `${path} answered with ${answer.status}, which is not odxd's`, status: answer.status});
  }
  if (!answer.ok) throw new Refused(document);
  return document;
}
