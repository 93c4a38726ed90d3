// Shows what each part does, and does what the buttons say.
"use strict";

const EVERY_MS = 500;
const $ = (id) => document.getElementById(id);
let viewer = "", playing = "", shown = "";
const own = [];  // what happens in the film, the latest first

function watch(site) {
  viewer = site;
  for (const name of ["east", "west"]) $(`viewer-${name}`).setAttribute("aria-pressed", String(name === site));
  $("film").src = `/follow.html?${new URLSearchParams({ list: `/urls?site=${site}`, again: 2, ahead: 6 })}`;
}

async function press(what, name) {
  try {
    const answer = await fetch("/do", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ what, name }),
    });
    const said = await answer.json();
    $("said").textContent = answer.ok ? "" : said.detail;
  } catch (error) {
    $("said").textContent = "The page's own server does not answer: was ./dev network ended?";
  }
  look();
}

function button(what, name) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = what[0].toUpperCase() + what.slice(1);
  made.setAttribute("aria-label", `${what} ${name}`);
  made.addEventListener("click", () => press(what, name));
  return made;
}

function row(name, url, text, kind, ...buttons) {
  const made = document.createElement("div");
  made.className = "part";
  const title = document.createElement(url ? "a" : "span");
  title.textContent = name;
  if (url) Object.assign(title, { href: url, target: "_blank" });
  const state = Object.assign(document.createElement("span"), { textContent: text, className: kind });
  const place = document.createElement("div");
  place.append(...buttons);
  made.append(title, state, place);
  return made;
}

function partRow({ name, running, told, url }) {
  const buttons = [button(running ? "kill" : "start", name)];
  if (told) buttons.push(button(told.fault.startsWith("drained") ? "enable" : "drain", name));
  if (!running) return row(name, url, "killed", "error", ...buttons);
  if (told === null) return row(name, url, "runs", "ok", ...buttons);
  const plays = playing === new URL(told.url || "http://none").host;
  const text = told.fault || `takes clients, hears ${told.networks} networks`;
  return row(name, url, plays ? `${text}; plays the film` : text, told.fault ? "error" : "ok", ...buttons);
}

function show(state) {
  const rows = state.parts.filter((part) => !part.site).map(partRow);
  for (const [site, network] of Object.entries(state.customers)) {
    const box = document.createElement("div");
    box.className = "site";
    const isTold = state.announced[site];
    const route = button(isTold ? "withdraw" : "announce", site);
    route.disabled = !state.router;
    box.append(row(`site ${site}`, "", `its customers: ${network}${isTold ? "" : "; its routes are withdrawn"}`, isTold ? "soft" : "error", route));
    box.append(...state.parts.filter((part) => part.site === site).map(partRow));
    rows.push(box);
  }
  const text = JSON.stringify([state.parts.map(({ told, ...part }) => [part, told && [told.fault, told.networks]]), state.announced, playing]);
  if (text !== shown) $("parts").replaceChildren(...rows);  // a button is not to go from under a finger
  shown = text;
  $("no-router").hidden = state.router;
  $("withdrawing").hidden = !state.router;
  const events = [...state.events, ...own].sort((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : 0));
  $("events").replaceChildren(...events.slice(0, 60).map(({ at, text: what }) => {
    const item = document.createElement("li");
    item.append(Object.assign(document.createElement("time"), { textContent: at }), what);
    return item;
  }));
}

// Whom the latest second of the film came from.
function listen() {
  const follower = $("film").contentWindow.follower;
  const server = follower && follower.seconds.findLast((each) => each);
  if (server && server.name !== playing) {
    playing = server.name;
    own.unshift({ at: new Date().toTimeString().slice(0, 8), text: `the film comes from ${playing}` });
  }
}

async function look() {
  listen();
  show(await (await fetch("/state", { cache: "no-store" })).json());
}

async function lookForEver() {
  for (;;) {
    try {
      await look();
    } catch (error) {
      $("said").textContent = "The page's own server does not answer: was ./dev network ended?";
    }
    await new Promise((resume) => setTimeout(resume, EVERY_MS));
  }
}

for (const site of ["east", "west"]) $(`viewer-${site}`).addEventListener("click", () => { playing = ""; watch(site); });
watch("east");
lookForEver();
