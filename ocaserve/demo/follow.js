// Plays a film from ranked URLs (?from=URL&from=URL, best first) by Media Source Extensions: who is
// asked for what, and when a server is left, is decided as `ocaserve follow` does it. With ?list=URL
// they are those of a control plane's answer (POST /v1/steer), which is asked for again when its
// time is over, or every ?again= seconds. How it went is told once of each session that an answer
// opens: when there is another one, when the film is there, when the page goes.
"use strict";

const TYPE = 'video/mp4; codecs="avc1.42C01E, mp4a.40.2"';
const STALL_MS = 1500;       // without a head, or without a byte
const SPAN_MS = 3000;        // for a second of the film
const FIRST_DROP_MS = 5000;  // that a server is left alone, doubled with each fault in a row
const LONGEST_DROP_MS = 300000;
const AGAIN_MS = 500;        // between two tries where all are left alone
const SLOW_SHARE = 0.5;      // of the fastest one's rate; less is passed over
const REMEMBER_MS = 60000;   // that a measured rate counts
const KEEP = 0.7;            // of an average, when something new is measured
const INDEX_BYTES = 16384;   // in which head and index of the film must lie
const COLORS = ["#3a86ff", "#ff9f1c", "#2a9d8f", "#e5446d", "#8338ec", "#90a955"];

const asked = new URLSearchParams(location.search);
const list = asked.get("list");
const urls = list ? [] : asked.getAll("from").length ? asked.getAll("from") : ["film.mp4"];
const ahead = Number(asked.get("ahead")) || 15;  // seconds that are kept in the buffer
const video = document.querySelector("video");
const seconds = [];  // by second of the film: the server that it came from
let stalls = 0, hasPlayed = false, version = null, total = Infinity;

const known = new Map();  // by host and path: all servers that were ever named
const servers = [];       // those of the list, best first
takeList(urls);

// What is known of a server outlives a list; that it had not the film does not.
function takeList(named) {
  servers.splice(0, servers.length, ...named.map((text) => {
    const url = new URL(text, location.href);
    const name = url.host, key = url.host + url.pathname;
    if (!known.has(key)) {
      known.set(key, {
        color: COLORS[known.size % COLORS.length], name, strikes: 0, until: 0, tried: 0,
        rate: null, firstByte: null, measured: 0, state: "",
      });
    }
    return Object.assign(known.get(key), { url: url.href, isOut: false });
  }));
}

// Where nobody answers, or nobody is named, what was named before goes on working.
async function keepAsking() {
  let isAway = false;
  while (true) {
    let again = Number(asked.get("again")) || 10;
    try {
      const answer = await (await fetch(list, { cache: "no-store" })).json();
      takeSession(answer);
      const [named] = Object.values(answer.objects);
      if (named.length) takeList(named);
      if (isAway) say("");
      isAway = false;
      again = Number(asked.get("again")) || answer.ttl_s;
    } catch (error) {
      isAway = true;
      say("the control plane does not answer");
    }
    show();
    await new Promise((resume) => setTimeout(resume, again * 1000));
  }
}

// -- telling how it goes --------------------------------------------------------------------------

let session = null;  // of the latest answer, with what was done since; null where nothing is to be told

function takeSession(answer) {
  if (session !== null && session.token === answer.session) return;
  tell();
  const url = new URL(answer.qoe || "/v1/qoe", new URL(list, location.href)).href;
  session = answer.session ? { token: answer.session, url, began: Date.now(), failovers: 0, bytes: 0, isTold: false } : null;
}

// It may be the last that the page does, so nobody waits for an answer; and if none comes, the film
// goes on as well.
function tell() {
  if (session === null || session.isTold || !(session.bytes || session.failovers)) return;
  session.isTold = true;
  const { token, url, began, failovers, bytes } = session;
  fetch(url, {
    method: "POST", keepalive: true, headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ session: token, failovers, seconds: (Date.now() - began) / 1000, bytes }),
  }).catch(() => {});
}

window.addEventListener("pagehide", tell);

window.follower = { seconds, servers, get stalls() { return stalls; }, get session() { return session; } };

// -- who is asked ---------------------------------------------------------------------------------

function choose(now) {
  const fit = servers.filter((each) => !each.isOut);
  const free = fit.filter((each) => now >= each.until);
  const rate = (each) => (now - each.measured < REMEMBER_MS ? each.rate : null);
  const bar = SLOW_SHARE * Math.max(0, ...free.map((each) => rate(each) || 0));
  const best = free.find((each) => rate(each) === null || rate(each) >= bar);
  if (best || !fit.length) return best;
  return fit.filter((each) => now - each.tried >= AGAIN_MS).sort((a, b) => a.tried - b.tried)[0];
}

function strike(server, why) {
  server.strikes += 1;
  if (session) session.failovers += 1;
  server.until = Date.now() + Math.min(FIRST_DROP_MS * 2 ** (server.strikes - 1), LONGEST_DROP_MS);
  server.rate = null;
  server.state = why;
  say(`${server.name}: ${why}`);
}

function average(before, found) {
  return before === null ? found : before * KEEP + found * (1 - KEEP);
}

// -- fetching -------------------------------------------------------------------------------------

// Bytes [start, stop), or up to the end, from whoever has them. What came from one that failed is
// kept: the next one goes on at the same byte.
async function fetchRange(start, stop) {
  const parts = [];
  let at = start;
  while (true) {
    const server = choose(Date.now());
    if (server === undefined) {
      if (!list && servers.every((each) => each.isOut)) throw new Error("no server has the film");
      await new Promise((resume) => setTimeout(resume, AGAIN_MS / 2));
      continue;
    }
    server.tried = Date.now();
    try {
      await fetchFrom(server, at, stop, (chunk) => { parts.push(chunk); at += chunk.length; });
      server.strikes = 0;
      server.state = "";
      return { bytes: await new Blob(parts).arrayBuffer(), server };
    } catch (error) {
      strike(server, error.name === "AbortError" ? "too slow" : error.message);
      if (at >= Math.min(stop, total)) return { bytes: await new Blob(parts).arrayBuffer(), server };
    } finally {
      show();
    }
  }
}

async function fetchFrom(server, start, stop, take) {
  const control = new AbortController();
  const late = setTimeout(() => control.abort(), SPAN_MS);
  let still = setTimeout(() => control.abort(), STALL_MS);
  const began = performance.now();
  try {
    const headers = { Range: `bytes=${start}-${stop - 1}` };
    if (version !== null) headers["If-Range"] = version;
    const response = await fetch(server.url, { headers, signal: control.signal, cache: "no-store" });
    let left = checkHead(server, response, start, stop);
    server.firstByte = average(server.firstByte, performance.now() - began);
    const length = left, reader = response.body.getReader();
    while (left > 0) {
      clearTimeout(still);
      still = setTimeout(() => control.abort(), STALL_MS);
      const { done, value } = await reader.read();
      if (done) throw new Error(`${left} bytes did not come`);
      if (value.length > left) throw new Error("more bytes than were asked for");
      take(value);
      if (session) session.bytes += value.length;
      left -= value.length;
    }
    const took = Math.max(performance.now() - began, 1);
    server.rate = average(server.rate, length / took * 1000);
    server.measured = Date.now();
  } finally {
    clearTimeout(late);
    clearTimeout(still);
    control.abort();
  }
}

// How many bytes are to come. What is of another version is not mixed in.
function checkHead(server, response, start, stop) {
  const tag = response.headers.get("ETag");
  const span = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(response.headers.get("Content-Range") || "");
  const isOther = version !== null && tag !== version;
  server.isOut = isOther || [401, 403, 404, 410].includes(response.status);
  if (isOther && response.ok) throw new Error("another version");
  if (response.status !== 206) throw new Error(`status ${response.status}`);
  if (!span || Number(span[1]) !== start) throw new Error("another range");
  if (!tag || tag.startsWith("W/")) throw new Error("no strong entity-tag");
  version = tag;
  total = Number(span[3]);
  if (Number(span[2]) !== Math.min(stop, total) - 1) throw new Error("another range");
  return Number(span[2]) + 1 - start;
}

// -- the film -------------------------------------------------------------------------------------

// Of a fragmented MP4 (ISO/IEC 14496-12): where head and fragments lie, by its segment index.
function readIndex(bytes) {
  const view = new DataView(bytes);
  for (let at = 0; at + 8 <= view.byteLength; at += view.getUint32(at)) {
    if (view.getUint32(at + 4) !== 0x73696478) continue;  // "sidx"
    const isLong = view.getUint8(at + 8) === 1;
    const scale = view.getUint32(at + 16);
    const places = at + 20 + (isLong ? 16 : 8);
    const offset = isLong ? Number(view.getBigUint64(at + 28)) : view.getUint32(at + 24);
    let start = at + view.getUint32(at) + offset, time = 0;
    const fragments = [];
    for (let place = 0; place < view.getUint16(places + 2); place += 1) {
      const entry = places + 4 + place * 12;
      const length = view.getUint32(entry) & 0x7fffffff;
      fragments.push({ start, stop: start + length, time });
      start += length;
      time += view.getUint32(entry + 4) / scale;
    }
    return { head: at, fragments, duration: time };
  }
  throw new Error("the film has no segment index at its beginning");
}

function append(buffer, bytes) {
  return new Promise((resume, fail) => {
    buffer.addEventListener("updateend", resume, { once: true });
    buffer.addEventListener("error", () => fail(new Error("not to be played")), { once: true });
    buffer.appendBuffer(bytes);
  });
}

function bufferedUntil() {
  return video.buffered.length ? video.buffered.end(video.buffered.length - 1) : 0;
}

async function play() {
  const source = new MediaSource();
  video.src = URL.createObjectURL(source);
  await new Promise((resume) => source.addEventListener("sourceopen", resume, { once: true }));
  const first = await fetchRange(0, INDEX_BYTES);
  const { head, fragments, duration } = readIndex(first.bytes);
  seconds.length = fragments.length;
  const buffer = source.addSourceBuffer(TYPE);
  await append(buffer, first.bytes.slice(0, head));
  source.duration = duration;
  for (let place = 0; place < fragments.length; place += 1) {
    while (bufferedUntil() - video.currentTime > ahead) {
      await new Promise((resume) => setTimeout(resume, 200));
    }
    const { bytes, server } = await fetchRange(fragments[place].start, fragments[place].stop);
    await append(buffer, bytes);
    seconds[place] = server;
    show();
  }
  source.endOfStream();
  tell();
}

// -- what is seen ---------------------------------------------------------------------------------

function say(text) {
  document.getElementById("said").textContent = text;
}

function cell(row, text) {
  row.append(Object.assign(document.createElement("td"), { textContent: text }));
}

function show() {
  const strip = Array.from(seconds, (server, place) => {
    const mark = document.createElement("i");
    if (server) mark.style.background = server.color;
    mark.title = server ? `second ${place}: ${server.name}` : `second ${place}`;
    return mark;
  });
  document.getElementById("seconds").replaceChildren(...strip);
  const rows = Array.from(known.values(), (server) => {
    const row = document.createElement("tr");
    cell(row, ` ${server.name}`);
    const mark = document.createElement("i");
    mark.style.background = server.color;
    row.firstChild.prepend(mark);
    cell(row, server.firstByte === null ? "" : `${Math.round(server.firstByte)} ms`);
    cell(row, server.rate === null ? "" : `${(server.rate / 1e6).toFixed(1)} MB/s`);
    cell(row, String(seconds.filter((each) => each === server).length));
    cell(row, servers.includes(server) ? server.state : "not in the list now");
    return row;
  });
  document.querySelector("tbody").replaceChildren(...rows);
}

video.addEventListener("playing", () => { hasPlayed = true; });
video.addEventListener("waiting", () => { if (hasPlayed && !video.ended) stalls += 1; });
if (list) keepAsking();
show();
play().catch((error) => say(error.message));
