// The page: follows the appliance's events, and asks before it changes anything.
import {ask, authorization, call, forgetToken} from './asking.js';
import {draw} from './chart.js';
import {bits} from './format.js';
import {showFigures, showHead, showTables, showVerdict, showWindows} from './panels.js';

const $ = (id) => document.getElementById(id);
const RETRY_MS = 1000;
const SECOND = 1000;
const RECENT = 300;  // seconds
const FEW = 12;  // means: with fewer a day's chart is a dot at its end
const DAY = 86_400_000;
let status = null;
let shownWindows = '';
let span = '';  // 'day' or 'minutes'
let past = {start: 0, step: 300_000, means: []};
let recent = [];

// -- the chart ------------------------------------------------------------------------------------

async function loadPast() {
  const told = await call('GET', '/v1/throughput');
  past = {start: Date.parse(told.start), step: told.step_s * SECOND, means: told.means};
  recent = told.recent;
  if (!span) choose(past.means.length < FEW ? 'minutes' : 'day');
}

function drawChart() {
  const now = Date.now();
  if (!span) return;
  const isDay = span === 'day';
  // The step under way has no mean yet: what is sent now stands for it.
  const values = isDay ? [...past.means, recent.at(-1) ?? null] : recent;
  const step = isDay ? past.step : SECOND;
  const end = now;
  const start = isDay && past.means.length ? past.start : end - (values.length - 1) * step;
  const top = Math.max(0, ...values.filter((value) => value !== null));
  $('peak').textContent = `peak ${bits(top)}`;
  $('chart').setAttribute('aria-label', `Throughput of ${isDay ? 'the last day' : 'the last five minutes'}, ${$('peak').textContent}`);
  draw($('chart'), {values, start, step, end, from: end - (isDay ? DAY : RECENT * SECOND), tick: isDay ? 3_600_000 : 60_000});
}

function choose(wanted) {
  span = wanted;
  for (const id of ['day', 'minutes']) $(id).setAttribute('aria-pressed', String(id === wanted));
  drawChart();
}

// -- following ------------------------------------------------------------------------------------

function show(now) {
  status = now.status;
  recent.push(status.bits_per_s);
  if (recent.length > RECENT) recent.shift();
  showHead(now);
  showFigures(now);
  showTables(now);
  drawChart();
  const text = JSON.stringify(now.windows);
  if (text !== shownWindows) {  // its buttons are not to go from under a finger
    shownWindows = text;
    showWindows(now.windows, cancelWindow);
  }
}

function tell(text) {
  $('notice').textContent = text;
  $('notice').hidden = !text;
}

// Resolves to whether to go on, when the stream has ended.
async function follow(fault) {
  const answer = await fetch('/v1/dashboard/events', {headers: authorization(), cache: 'no-store'});
  if (answer.status === 401 || answer.status === 403) {
    const hadToken = 'Authorization' in authorization();
    forgetToken();
    return ask({
      question: 'A token is needed to look', consequence: 'This address is not the appliance itself.', verb: 'Look',
      role: 'read', fault: hadToken ? 'The last one was not one of this appliance.' : fault, act: async () => {},
    });
  }
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  await loadPast();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return true;
    text += value;
    const events = text.split('\n\n');
    text = events.pop();
    for (const event of events) if (event.startsWith('data: ')) show(JSON.parse(event.slice('data: '.length)));
    tell('');
  }
}

async function followForEver() {
  for (;;) {
    try {
      if (!await follow('')) {
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

// -- acting ---------------------------------------------------------------------------------------

function changeDuty() {
  return status.state === 'serving' ? ask({
    question: 'Drain this appliance?', consequence: 'New clients are sent elsewhere; no running response is cut.',
    verb: 'Drain', role: 'operate', fields: {reason: ''},
    act: ({reason}) => call('POST', '/v1/drain', {reason: reason || 'from the dashboard'}),
  }) : ask({
    question: 'Take it back into service?', consequence: 'The control plane may send clients here again.',
    verb: 'Enable', role: 'operate', act: () => call('POST', '/v1/enable', {}),
  });
}

function planWindow() {
  const minute = (ahead_ms) => new Date(Date.now() + ahead_ms).toISOString().slice(0, 16);
  return ask({
    question: 'Plan a maintenance window', consequence: 'The appliance drains when it begins, and is enabled when it ends.',
    verb: 'Plan', role: 'operate', fields: {start: minute(3_600_000), end: minute(2 * 3_600_000), reason: ''},
    act: ({start, end, reason}) => call('POST', '/v1/maintenance', {start: `${start}:00Z`, end: `${end}:00Z`, reason}),
  });
}

function cancelWindow({id, reason}) {
  return ask({
    question: 'Cancel this maintenance window?', consequence: reason, verb: 'Cancel the window', role: 'operate',
    act: () => call('DELETE', `/v1/maintenance/${encodeURIComponent(id)}`),
  });
}

function reloadSettings() {
  return ask({
    question: 'Read the settings again?', consequence: 'Workers are replaced one after the other; no response is cut. The outcome stands among the changes.',
    verb: 'Reload', role: 'operate', act: () => call('POST', '/v1/reload', {}),
  });
}

async function lookUp(event) {
  event.preventDefault();
  const query = new URLSearchParams({ip: $('address').value.trim()});
  if ($('object').value.trim()) query.set('object', $('object').value.trim());
  try {
    showVerdict($('found'), await call('GET', `/v1/explain?${query}`));
  } catch (error) {
    $('found').textContent = error.message;
  }
}

$('duty').addEventListener('click', changeDuty);
$('plan').addEventListener('click', planWindow);
$('reload').addEventListener('click', reloadSettings);
$('lookup').addEventListener('submit', lookUp);
$('day').addEventListener('click', () => choose('day'));
$('minutes').addEventListener('click', () => choose('minutes'));
new ResizeObserver(drawChart).observe($('chart'));
setInterval(() => loadPast().catch(() => {}), 60_000);  // the stream says when nobody answers
followForEver();
