// What the appliance says comes as text into the page, never as markup: textContent alone.
'use strict';

const $ = (id) => document.getElementById(id);
const HISTORY = 300;  // seconds
const RETRY_MS = 1000;
const TOKEN = 'ocaserve-token';  // of this tab alone, gone when it closes
const history = [];
let status = null;
let asking = null;  // the open question's answer to come

const short = (value, units, step) => {
  let place = 0;
  while (value >= step && place < units.length - 1) { value /= step; place += 1; }
  return `${value.toFixed(place && value < 100 ? 1 : 0)} ${units[place]}`;
};
const bits = (value) => short(value, ['bit/s', 'kb/s', 'Mb/s', 'Gb/s', 'Tb/s'], 1000);
const bytes = (value) => short(value, ['B', 'kB', 'MB', 'GB', 'TB', 'PB'], 1000);
// Today the time alone.
const moment = (text) => {
  const time = new Date(text);
  const isToday = time.toDateString() === new Date().toDateString();
  return isToday ? time.toLocaleTimeString() : time.toLocaleString();
};
const count = (value) => value.toLocaleString('en');

// rows: lists of cells, of which the first names the row; a cell is a text, a number, or {text, kind}.
function fill(table, head, rows) {
  const make = (cell, tag, scope) => {
    const made = document.createElement(tag);
    const {text, kind} = typeof cell === 'object' ? cell : {text: cell, kind: ''};
    made.textContent = text;
    if (kind) made.className = kind;
    if (scope) made.scope = scope;
    return made;
  };
  const line = (made) => {
    const row = document.createElement('tr');
    row.append(...made);
    return row;
  };
  const body = rows.map(([name, ...cells]) =>
    line([make(name, 'th', 'row'), ...cells.map((cell) => make(cell, 'td'))]));
  if (!rows.length) body.push(line([make({text: 'none', kind: 'quiet'}, 'td')]));
  const top = head ? [line(head.map((cell) => make(cell, 'th', 'col')))] : [];
  table.replaceChildren(...top, ...body);
}
const number = (text) => ({text, kind: 'number'});

function draw() {
  const top = Math.max(...history, 1);
  const x = (place) => 300 - (history.length - 1 - place) * 300 / (HISTORY - 1);
  const points = history.map((value, n) => `${x(n).toFixed(2)},${(58 - 56 * value / top).toFixed(2)}`);
  $('line').setAttribute('d', `M${points.join('L')}`);
  $('area').setAttribute('d', `M${x(0)},60L${points.join('L')}L300,60Z`);
  $('peak').textContent = `peak ${bits(Math.max(...history))} in five minutes`;
}

function show(now) {
  status = now.status;
  history.push(status.bits_per_s);
  if (history.length > HISTORY) history.shift();
  document.title = `${status.id}: ${status.state}`;
  $('name').textContent = status.id;
  const since = moment(status.since);
  $('about').textContent = `${status.site ? status.site + ' · ' : ''}ocaserve ${status.version} · `
    + `${status.listen.join(', ')} · ${status.state} since ${since}`;
  showDrain();
  const level = status.takes_traffic ? now.health.level : 'error';
  const more = status.reason ? `: ${status.reason}` : isRefusing(status) ? ', takes no traffic' : '';
  $('state').textContent = status.state + more;
  $('state').className = `badge ${level}`;
  $('duty').hidden = false;
  $('duty').textContent = status.state === 'serving' ? 'Drain …' : 'Enable …';
  $('rate').textContent = bits(status.bits_per_s);
  $('connections').textContent = count(status.connections);
  $('requests').textContent = count(Math.round(status.requests_per_s));
  $('serving').textContent = `${status.workers.serving} of ${status.workers.wanted}`;
  draw();
  fill($('health'), null, now.health.components.map((each) =>
    [{text: each.name}, {text: each.level, kind: each.level}, each.reason]));
  fill($('workers'), ['pid', 'state', number('connections'), number('lag')],
    now.workers.map((each) => [each.pid, each.state, number(count(each.connections)),
      number(`${(each.loop_lag_s * 1000).toFixed(0)} ms`)]));
  fill($('stores'), ['path', 'state', number('free'), number('sent')],
    now.stores.map((each) => [each.path,
      {text: each.reason || each.level || 'unknown', kind: each.level || 'quiet'},
      number(each.size_bytes ? `${bytes(each.free_bytes)} of ${bytes(each.size_bytes)}` : ''),
      number(bytes(each.bytes))]));
  fill($('history'), null, now.history.map((each) =>
    [{text: moment(each.at), kind: 'number'}, each.kind, {text: each.text, kind: each.level}]));
  fill($('answers'), null, [
    ...Object.entries(now.responses).map(([name, n]) => [name, number(count(n))]),
    ...Object.entries(now.bytes).map(([name, n]) => [name.replace('_', ', '), number(bytes(n))])]);
  fill($('closed'), null, now.closed.map((each) =>
    [{text: each.reason, kind: each.is_error ? 'warning' : ''}, number(count(each.count)), each.meaning]));
  $('ledger-panel').hidden = !now.ledger;
  if (now.ledger) {
    const routed = (name) => now.routes ? [now.ledger.routes[name]] : [];
    fill($('ledger'),
      ['network', ...(now.routes ? ['route'] : []), number('sent'), number('share'), number('95th')],
      now.ledger.networks.map((each) => [each.network, ...routed(each.network),
        number(bytes(each.bytes)), number(`${(each.share * 100).toFixed(1)} %`),
        number(bits(each.p95_bits_per_s))]));
  }
  $('routes-panel').hidden = !now.routes;
  if (now.routes) showPeers(now.routes);
}

// Clients are to go elsewhere although the operator wants it to serve: health has the reason.
const isRefusing = ({state, takes_traffic: takes}) => state === 'serving' && !takes;

// A drain's times: when it ends by itself, and when new requests are turned away.
function showDrain() {
  const {drain_until: until, drain_deadline: deadline} = status;
  const said = [];
  if (until) said.push(`ends by itself ${moment(until)}`);
  if (deadline) said.push(`turns new requests away from ${moment(deadline)} on`);
  $('drain').textContent = said.join(', ');
  $('drain').hidden = !said.length;
}

function showPeers(routes) {
  const rows = routes.peers.map((peer) => [peer.address,
    {text: peer.state, kind: peer.state === 'up' ? 'ok' : 'error'},
    number(count(Object.values(peer.families).reduce((sum, each) => sum + each.accepted, 0))),
    Object.entries(peer.families).flatMap(([name, each]) =>
      [`${name} ${each.state}`, ...Object.entries(each.filtered).map(([why, n]) => `${count(n)} ${why}`)])
      .join(', ')]);
  fill($('peers'), ['peer', 'session', number('routes'), 'families, filtered'], rows);
}

function authorization() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? {Authorization: `Bearer ${token}`} : {};
}

function tell(text) {
  $('notice').textContent = text;
  $('notice').hidden = !text;
}

// Resolves to whether to go on, when the stream has ended.
async function follow() {
  const answer = await fetch('/v1/dashboard/events', {headers: authorization(), cache: 'no-store'});
  if (answer.status === 401 || answer.status === 403) {
    sessionStorage.removeItem(TOKEN);
    return ask('A token is needed to look', '', 'Look', false);
  }
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return true;
    text += value;
    const events = text.split('\n\n');
    text = events.pop();
    for (const event of events) show(JSON.parse(event.slice('data: '.length)));
    tell('');
  }
}

async function followForEver() {
  for (;;) {
    try {
      if (!await follow()) {
        tell('Nothing is shown without a token. Load the page again to give one.');
        return;
      }
    } catch (error) {
      tell('The control process does not answer; trying again. Clients are not affected.');
      $('state').className = 'badge quiet';
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

// Ask, one question after the other: what is pressed must belong to what is read. Keeps the token.
// Resolves to whether it was confirmed.
async function ask(...words) {
  while (asking) await asking;
  asking = askNow(...words);
  try {
    return await asking;
  } finally {
    asking = null;
  }
}

function askNow(question, consequence, verb, hasReason) {
  $('question').textContent = question;
  $('consequence').textContent = consequence;
  $('confirm').textContent = verb;
  $('reason').hidden = !hasReason;
  document.querySelector('label[for=reason]').hidden = !hasReason;
  $('token').value = sessionStorage.getItem(TOKEN) || '';
  $('dialog').returnValue = '';
  $('dialog').showModal();
  return new Promise((resolve) => {
    $('dialog').addEventListener('close', () => {
      const isConfirmed = $('dialog').returnValue === 'yes';
      if (isConfirmed && $('token').value) sessionStorage.setItem(TOKEN, $('token').value);
      resolve(isConfirmed);
    }, {once: true});
  });
}

async function changeDuty() {
  const isServing = status.state === 'serving';
  const isConfirmed = isServing
    ? await ask('Drain this appliance?', 'New clients are sent elsewhere; no running response is cut.', 'Drain', true)
    : await ask('Take it back into service?', 'The control plane may send clients here again.', 'Enable', false);
  if (!isConfirmed) return;
  const body = isServing ? {reason: $('reason').value || 'from the dashboard'} : {};
  try {
    const answer = await fetch(isServing ? '/v1/drain' : '/v1/enable', {
      method: 'POST', body: JSON.stringify(body),
      headers: {'Content-Type': 'application/json', ...authorization()},
    });
    if (answer.status === 401) sessionStorage.removeItem(TOKEN);
    tell(answer.ok ? '' : `Refused: ${(await answer.json()).detail}`);
  } catch (error) {
    tell('The control process does not answer.');
  }
}

async function lookUp(event) {
  event.preventDefault();
  const query = new URLSearchParams({at: $('address').value.trim()});
  try {
    const answer = await fetch(`/v1/routes/lookup?${query}`, {headers: authorization()});
    const found = await answer.json();
    $('found').textContent = answer.ok ? JSON.stringify(found, null, 1) : found.detail;
  } catch (error) {
    $('found').textContent = 'The control process does not answer.';
  }
}

$('duty').addEventListener('click', changeDuty);
$('cancel').addEventListener('click', () => $('dialog').close());
$('lookup').addEventListener('submit', lookUp);
followForEver();
