// The live page: what the control interface tells, kept up to date, and the buttons that steer the array.
//
// Events are waited for (GET /v1/events with wait_s); the rest is asked for when something happened and every few
// seconds. Between two answers the remaining life of tokens is counted down here, as fast as the array clock runs.
import {Refused, Unauthorized, ask, hasToken, useToken} from "./service.js";
import {Table, button, element, write} from "./table.js";
import {bytes, duration, keys, moment} from "./words.js";

const TICK_MS = 200;
const FAST_MS = 2000;     // clock, tokens, copies, rules
const SLOW_MS = 10000;    // sessions, LUNs, links; at once after an event that concerns them
const RETRY_MS = 1000;
const SAID_MS = 6000;     // that it stands there
const REFUSED_MS = 12000;
const WAIT_S = 20;        // of a request for events
const MOST_TOKENS = 100;
const MOST_LUNS = 200;
const EVENTS_KEPT = 500;
const EVENTS_SHOWN = 100;
const SOON = 0.15;        // of a token's life
const CONCERNS_SLOW = new Set(["login", "logout", "configuration", "reachability"]);

const place = (id) => document.getElementById(id);
const state = {
  clock: null, told: 0, clockEdited: false,
  fastDue: 0, slowDue: 0, busy: false, several: false,
  events: [], unseen: 0, paused: false,
};

// What is said to the user.

const clearing = {};
function tell(id, text, for_ms) {
  clearTimeout(clearing[id]);
  place(id).textContent = text;
  clearing[id] = setTimeout(() => { place(id).textContent = ""; }, for_ms);
}

function connection(words, kind) {
  write(place("state"), words);
  place("state").className = `state ${kind}`;
}

let authorized = Promise.resolve();
let authorize = null;
function askForToken() {
  if (authorize) return;
  authorized = new Promise((resolve) => { authorize = resolve; });
  connection("needs a token", "lost");
  place("ask-refused").textContent = hasToken() ? "This token is not the one of [control]." : "";
  place("ask").showModal();
}

function failed(error) {
  if (error instanceof Unauthorized) return askForToken();
  if (!(error instanceof Refused)) return connection("no answer", "lost");
  tell("refused", error.message, REFUSED_MS);
}

/// Does something, says so, and shows what came of it. A refusal is told in the element of the id `where`.
async function act(method, path, body, done, where = "refused") {
  try {
    await ask(method, path, body);
    write(place(where), "");
    tell("said", done, SAID_MS);
    return true;
  } catch (error) {
    if (error instanceof Refused && where !== "refused") write(place(where), error.message);
    else failed(error);
    return false;
  } finally {
    state.fastDue = state.slowDue = 0;
  }
}

// Tables.

const sinceTold = () => (performance.now() - state.told) / 1000 * state.clock.factor;

/// Which of the two ends a token that nobody uses, and how long that is in all.
function lifeOf(token) {
  const byInactivity = token.inactivity_timeout_s > 0 &&
    token.inactivity_timeout_s - token.idle_s < token.lifetime_s - token.age_s;
  return byInactivity ? {whole: token.inactivity_timeout_s, why: "inactivity"}
    : {whole: token.lifetime_s, why: "lifetime"};
}

function tokenLife(row) {
  const left = element("span", {class: "left"});
  const why = element("span", {class: "quiet"});
  const bar = element("progress", {"aria-hidden": "true"});
  const node = element("div", {}, left, why, bar);
  row.countDown = () => {
    const token = row.item;
    const {whole, why: reason} = lifeOf(token);
    const seconds = Math.max(0, token.ends_in_s - sinceTold());
    write(left, token.in_use > 0 ? "in use" : duration(seconds));
    write(why, token.in_use > 0 ? "" : `${reason} of ${duration(whole)}`);
    bar.max = whole;
    bar.value = seconds;
    node.className = token.in_use === 0 && seconds < SOON * whole ? "soon" : "";
  };
  return {node, show: row.countDown};
}

function twoLines(first, second) {
  return () => {
    const above = element("span");
    const below = element("span", {class: "quiet"});
    return {node: [element("div", {}, above, below)], show: (item) => {
      write(above, first(item));
      write(below, second(item));
    }};
  };
}

/// Buttons of a row: {text, label(item), act(item), kind?}.
function actions(...all) {
  return (row) => {
    const buttons = all.map((each) => button(each.text, each.text, () => each.act(row.item), each.kind));
    return {node: buttons, show: (item) => buttons.forEach((each, at) =>
      each.setAttribute("aria-label", `${each.textContent} ${all[at].label(item)}`))};
  };
}

const ofToken = (token) => `token ${token.number}${state.several ? ` of ${token.array}` : ""}`;
const ending = (text, way, word) => ({text, kind: "danger", label: ofToken,
  act: (token) => act("POST", `/v1/tokens/${token.id}/${way}`, undefined, `${ofToken(token)} is ${word}`)});

const tokens = new Table("tokens", [
  {name: "Token", class: "number", make: twoLines((token) => `${token.number}`,
    (token) => (state.several ? token.array : ""))},
  {name: "Source", make: twoLines((token) => `${token.source}, ${bytes(token.bytes)}`, (token) => token.type)},
  {name: "Last user", text: (token) => token.last_user ?? "not known"},
  {name: "Ends in", class: "life", make: tokenLife},
  {name: "Actions", hideName: true, class: "actions",
    make: actions(ending("Expire", "expire", "expired"), ending("Revoke", "revoke", "revoked"))},
], {key: (token) => token.id, caption: "Valid tokens", empty: "No token is valid now."});

const copies = new Table("copies", [
  {name: "Copy", class: "number", text: (copy) => `${copy.id}`},
  {name: "Command", make: twoLines((copy) => copy.command, (copy) => copy.initiator ?? "its session is gone")},
  {name: "LUN", text: (copy) => copy.lun},
  {name: "Copied", class: "number", make: twoLines((copy) => bytes(copy.bytes),
    (copy) => (copy.stopping ? "stopping" : copy.in_background ? "in the background" : ""))},
  {name: "Actions", hideName: true, class: "actions", make: actions({text: "Abort", kind: "danger",
    label: (copy) => `copy ${copy.id}`,
    act: (copy) => act("POST", `/v1/operations/${copy.id}/abort`, undefined, `copy ${copy.id} is aborted`)})},
], {key: (copy) => copy.id, caption: "Copy operations in progress", empty: "Nothing is being copied."});

const KIND_OF_EVENT = {refusal: "bad", token_ended: "warn", token_forgotten: "warn", rule_hit: "warn",
  reachability: "warn", token_created: "good", token_used: "good", copy_ended: "good"};

function eventKind(row) {
  const event = row.item;
  const chip = element("span", {class: `chip ${KIND_OF_EVENT[event.kind] ?? ""}`}, event.kind.replaceAll("_", " "));
  const outcome = event.sense?.code ?? (event.status && event.status !== "GOOD" ? event.status : "");
  return {node: outcome ? [element("div", {}, chip, element("span", {class: "quiet"}, outcome))] : [chip]};
}

/// Of what went well, and so has no reason.
function inShort(event) {
  if (event.blocks !== undefined) return `${event.blocks} blocks from LBA ${event.lba}`;
  return event.bytes === undefined ? "" : bytes(event.bytes);
}

const events = new Table("events", [
  {name: "Time", class: "number", text: (event) => moment(event.time_us / 1e6)},
  {name: "Event", make: eventKind},
  {name: "Of", make: twoLines((event) => event.command ?? event.rule ?? "",
    (event) => [event.initiator, event.logical_unit].filter(Boolean).join(" on "))},
  {name: "Reason", class: "reason", text: (event) => event.reason ?? inShort(event)},
], {key: (event) => event.sequence, caption: "The last events, newest first", empty: "Nothing has happened yet."});

const links = new Table("links", [
  {name: "Cut between", text: (pair) => `${pair.a} and ${pair.b}`},
  {name: "Refused with", text: (pair) => pair.refusal ?? "what the profile says"},
  {name: "Actions", hideName: true, class: "actions", make: actions({text: "Mend",
    label: (pair) => `${pair.a} and ${pair.b}`,
    act: (pair) => act("POST", "/v1/reachability/mend", {a: pair.a, b: pair.b},
      `${pair.a} and ${pair.b} reach each other again`)})},
], {key: (pair) => `${pair.a}\n${pair.b}`, caption: "Unreachable pairs", empty: "Data moves between all LUNs."});

const rules = new Table("rules", [
  {name: "Rule", make: twoLines((rule) => `${rule.id}${rule.name ? `: ${rule.name}` : ""}`,
    (rule) => [keys(rule.match), [rule.action.type, keys(rule.action)].filter(Boolean).join(" ")]
      .filter(Boolean).join(" → "))},
  {name: "Hits", class: "number", make: twoLines((rule) => `${rule.hits}`,
    (rule) => `of ${rule.matches}${rule.spent ? ", spent" : ""}`)},
  {name: "Actions", hideName: true, class: "actions", make: actions({text: "Remove",
    label: (rule) => `rule ${rule.id}`,
    act: (rule) => act("DELETE", `/v1/rules/${rule.id}`, undefined, `rule ${rule.id} is removed`)})},
], {key: (rule) => rule.id, caption: "Rules, in the order they are tried",
  empty: "No rule: nothing fails on purpose."});

const ofSession = (session) => `session ${session.tsih} of ${session.initiator}`;
const sessions = new Table("sessions", [
  {name: "Initiator", make: twoLines((session) => session.initiator, (session) => session.target ?? "discovery")},
  {name: "Commands", class: "number", text: (session) => `${session.commands}`},
  {name: "Actions", hideName: true, class: "actions", make: actions(
    {text: "Log out", label: ofSession, act: (session) => act("POST", `/v1/sessions/${session.tsih}/logout`, {},
      `${ofSession(session)} is asked to log out`)},
    {text: "Drop", kind: "danger", label: ofSession, act: (session) => act("DELETE", `/v1/sessions/${session.tsih}`,
      undefined, `${ofSession(session)} is dropped`)})},
], {key: (session) => session.tsih, caption: "iSCSI sessions", empty: "Nobody is logged in."});

const luns = new Table("luns", [
  {name: "LUN", make: twoLines((lun) => lun.name, (lun) => `${lun.number} of ${lun.target}`)},
  {name: "Size", class: "number", make: twoLines((lun) => bytes(lun.size_bytes),
    (lun) => [lun.provisioning, lun.read_only && "read-only", lun.stopped && "stopped"].filter(Boolean).join(", "))},
  {name: "Read, written", class: "number", make: twoLines((lun) => bytes(lun.bytes_read),
    (lun) => bytes(lun.bytes_written))},
], {key: (lun) => `${lun.target} ${lun.number}`, caption: "Logical units", empty: "There is no LUN."});

const count = (id, number, total = number) => write(place(`${id}-count`),
  total > number ? `${number} of ${total}` : number ? `${number}` : "");

// What is asked for.

function showClock(clock) {
  state.clock = clock;
  state.told = performance.now();
  write(place("mode"), clock.mode === "scaled" ? `× ${clock.factor}` : clock.mode);
  if (!state.clockEdited) {
    place("clock-mode").value = clock.mode;
    if (clock.mode === "scaled") place("factor").value = clock.factor;
    place("factor-label").hidden = clock.mode !== "scaled";
  }
  place("to-next").disabled = clock.next_in_s === null;
  countDown();
}

function countDown() {
  if (!state.clock) return;
  write(place("now"), moment(state.clock.now_s + sinceTold()));
  for (const row of tokens.rows.values()) row.countDown();
  write(place("due"), state.clock.next_in_s === null ? "Nothing is due."
    : `Something is due in ${duration(state.clock.next_in_s - sinceTold())}.`);
}

async function refreshFast() {
  const [clock, valid, running, listed] = await Promise.all([ask("GET", "/v1/clock"),
    ask("GET", `/v1/tokens?limit=${MOST_TOKENS}`), ask("GET", "/v1/operations"), ask("GET", "/v1/rules")]);
  showClock(clock);
  tokens.show(valid.tokens);
  count("tokens", valid.tokens.length, valid.total);
  copies.show(running.operations);
  count("copies", running.operations.length);
  rules.show(listed.rules);
  count("rules", listed.rules.length);
  write(place("rule-state"), listed.state);
}

function offer(select, names) {
  if ([...select.options].map((each) => each.value).join("\n") === names.join("\n")) return;
  const chosen = select.value;
  select.replaceChildren(...names.map((name) => element("option", {value: name}, name)));
  if (names.includes(chosen)) select.value = chosen;
}

async function refreshSlow() {
  const [status, arrays, units, loggedIn, cut] = await Promise.all([ask("GET", "/v1/status"),
    ask("GET", "/v1/arrays"), ask("GET", "/v1/luns"), ask("GET", "/v1/sessions"), ask("GET", "/v1/reachability")]);
  write(place("version"), status.version);
  state.several = arrays.arrays.length > 1;
  luns.show(units.luns.slice(0, MOST_LUNS));
  count("luns", Math.min(units.luns.length, MOST_LUNS), units.luns.length);
  sessions.show(loggedIn.sessions);
  count("sessions", loggedIn.sessions.length);
  links.show(cut.unreachable);
  count("links", cut.unreachable.length);
  const names = units.luns.map((lun) => lun.name);
  if (state.several) names.push(...arrays.arrays.map((array) => array.name));
  const fresh = place("cut-b").options.length === 0;
  for (const id of ["cut-a", "cut-b"]) offer(place(id), [...new Set(names)]);
  if (fresh && names.length > 1) place("cut-b").selectedIndex = 1;
}

async function tick() {
  countDown();
  const now = performance.now();
  if (state.busy || authorize || document.hidden || now < Math.min(state.fastDue, state.slowDue)) return;
  state.busy = true;
  try {
    const slow = now >= state.slowDue;
    [state.fastDue, state.slowDue] = [now + FAST_MS, slow ? now + SLOW_MS : state.slowDue];
    if (slow) await refreshSlow();
    await refreshFast();
    connection("live", "live");
  } catch (error) {
    state.fastDue = state.slowDue = performance.now() + RETRY_MS;
    failed(error);
  } finally {
    state.busy = false;
  }
}

// Events.

function showEvents() {
  const kind = place("kind").value;
  const chosen = state.events.filter((event) => !kind || event.kind === kind).slice(-EVENTS_SHOWN).reverse();
  events.show(chosen);
  count("events", chosen.length);
}

function take(list, first) {
  if (list.lost > 0) state.events = [];
  state.events = [...state.events, ...list.events].slice(-EVENTS_KEPT);
  const known = new Set([...place("kind").options].map((option) => option.value));
  for (const {kind} of list.events)
    if (!known.has(kind)) {
      known.add(kind);
      place("kind").append(element("option", {value: kind}, kind.replaceAll("_", " ")));
    }
  if (state.paused) {
    state.unseen += list.events.length;
    write(place("pause"), `Go on (${state.unseen} new)`);
  } else {
    showEvents();
  }
  if (first || list.events.length === 0) return;
  const told = list.events.findLast((event) => event.kind === "refusal" || event.kind === "token_ended");
  if (told) write(place("news"), `${told.kind.replaceAll("_", " ")}: ${told.reason ?? ""}`);
  for (const {sequence} of list.events) events.rows.get(sequence)?.element.classList.add("fresh");
  state.fastDue = 0;
  if (list.events.some((event) => CONCERNS_SLOW.has(event.kind))) state.slowDue = 0;
  if (place("explain").open) explain();
}

async function follow() {
  let since;
  for (;;) {
    await authorized;
    try {
      const query = since === undefined ? `limit=${EVENTS_SHOWN}`
        : `since=${since}&limit=${EVENTS_KEPT}&wait_s=${WAIT_S}`;
      const list = await ask("GET", `/v1/events?${query}`);
      const first = since === undefined;
      if (first) state.events = [];
      since = list.next;
      take(list, first);
    } catch (error) {
      if (error instanceof Refused && error.problem.status === 409) {
        events.nothing = "odxd keeps no journal: [journal] events is 0.";
        events.show([]);
        return;
      }
      failed(error);
      since = undefined;  // odxd may be another one, which counts afresh
      if (!authorize) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

async function explain() {
  try {
    place("explanation").textContent = (await ask("GET", "/v1/explain")).text;
  } catch (error) {
    failed(error);
  }
}

// Forms and buttons.

function onSubmit(id, submit) {
  place(id).addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
}

function prepareClock() {
  place("clock-form").addEventListener("input", () => {
    state.clockEdited = true;
    place("factor-label").hidden = place("clock-mode").value !== "scaled";
  });
  onSubmit("clock-form", async () => {
    const mode = place("clock-mode").value;
    const wanted = mode === "scaled" ? {mode, factor: place("factor").valueAsNumber} : {mode};
    if (await act("PUT", "/v1/clock", wanted, `the array clock is ${mode}`)) state.clockEdited = false;
  });
  onSubmit("advance-form", () => {
    const by = place("advance-by").valueAsNumber * Number(place("advance-unit").value);
    act("POST", "/v1/clock/advance", {duration_s: by}, `the array clock is ${duration(by)} further`);
  });
  place("to-next").addEventListener("click",
    () => act("POST", "/v1/clock/advance", {to: "next"}, "what was due next has happened"));
}

function prepareRest() {
  onSubmit("cut-form", () => {
    const [a, b] = [place("cut-a").value, place("cut-b").value];
    act("POST", "/v1/reachability/cut", {a, b}, `no data moves between ${a} and ${b}`);
  });
  onSubmit("rule-form", async () => {
    let rule;
    try {
      rule = JSON.parse(place("rule-text").value);
    } catch (error) {
      return write(place("rule-refused"), `This is no JSON: ${error.message}`);
    }
    await act("POST", "/v1/rules", rule, "the rule is added", "rule-refused");
  });
  place("kind").addEventListener("change", showEvents);
  place("pause").addEventListener("click", () => {
    state.paused = !state.paused;
    state.unseen = 0;
    place("pause").setAttribute("aria-pressed", state.paused);
    write(place("pause"), state.paused ? "Go on" : "Pause");
    if (!state.paused) showEvents();
  });
  place("explain").addEventListener("toggle", () => { if (place("explain").open) explain(); });
}

function prepareToken() {
  onSubmit("ask-form", () => {
    useToken(place("token").value);
    place("token").value = "";
    place("forget").hidden = false;
    state.fastDue = state.slowDue = 0;
    const resolve = authorize;
    authorize = null;
    connection("connecting", "");
    place("ask").close();
    resolve?.();
  });
  // Without a token there is nothing behind it to go back to.
  place("ask").addEventListener("close", () => { if (authorize) place("ask").showModal(); });
  place("forget").hidden = !hasToken();
  place("forget").addEventListener("click", () => {
    useToken(null);
    location.reload();
  });
}

prepareClock();
prepareRest();
prepareToken();
document.addEventListener("visibilitychange", () => { state.fastDue = state.slowDue = 0; });
try {
  await ask("GET", "/v1/status");  // one complaint is enough where a token is needed
} catch (error) {
  failed(error);
}
setInterval(tick, TICK_MS);
follow();
