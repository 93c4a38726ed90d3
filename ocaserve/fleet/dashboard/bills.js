// The page of bills: months, parties, a party's curve with its 95th percentile, what is missing.
import {ask, call, setWords} from './asking.js';
import {draw} from './chart.js';
import {look, lookForEver, tell} from './following.js';
import {bits, bytes, count} from './format.js';
import {fill, number} from './tables.js';

const $ = (id) => document.getElementById(id);
const DOCUMENT = '/v1/ledger';
const EVERY_MS = 30_000;
const DAY_MS = 86_400_000;
const MOST_HOLES = 50;
let ledger = null;
let month = null;
let party = null;

setWords({
  away: 'The control plane does not answer. Records wait at the appliances.',
  help: (role) => `It stands in the control plane's settings, under fleet.tokens.${role}. Without one there, "ocaserve fleet" on its own machine may still do this.`,
});

const day = (time) => new Date(time).toISOString().slice(5, 10);
const moment = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 16).replace('T', ' ');

function button(text, what, act) {
  const made = Object.assign(document.createElement('button'), {type: 'button', textContent: text});
  made.setAttribute('aria-label', `${text.replace(' …', '')}: ${what}`);
  made.addEventListener('click', act);
  return made;
}

// -- what is shown --------------------------------------------------------------------------------

function showLedger() {
  const open = ledger.months.filter((each) => each.state === 'open');
  const missing = open.reduce((sum, each) => sum + each.missing, 0);
  const parked = open.reduce((sum, each) => sum + each.parked, 0);
  $('state').textContent = ledger.fault ? 'the ledger cannot be asked' : missing || parked ? `${count(missing)} records missing, ${count(parked)} parked` : 'complete';
  $('state').className = `badge ${ledger.fault ? 'error' : missing || parked ? 'warning' : 'ok'}`;
  $('why').textContent = ledger.fault || (ledger.parties_wait ? 'The settings name other parties than those in force: "ocaserve fleet ledger migrate" changes them.' : '');
  $('ledger').textContent = `${count(ledger.books)} books of appliances`;
  const rows = [...ledger.months].reverse().map((each) => [each.month, each.state, number(bytes(each.bytes)), number(count(each.held)),
    {text: count(each.missing), kind: each.missing ? 'number warning' : 'number'}, number(`${each.completeness_percent} %`),
    {text: count(each.parked), kind: each.parked ? 'number warning' : 'number'}, monthButtons(each)]);
  fill($('months'), ['month', 'state', number('delivered'), number('records'), number('missing'), number('complete'), number('parked'), ''], rows, 'No record has come yet.');
}

function monthButtons(each) {
  const made = document.createDocumentFragment();
  made.append(button('Show', each.month, () => choose(each.month, party)));
  if (each.state === 'open') made.append(button('Close …', each.month, () => close(each)));
  return made;
}

function showParties(bills) {
  $('parties-month').textContent = month;
  const rows = bills.map((each) => [each.party, number(bytes(each.total_bytes)), number(bits(each.p95_bits_per_s)), number(bits(each.peak_bits_per_s)),
    button('Show', each.party, () => choose(month, each.party))]);
  fill($('parties'), ['party', number('bytes'), number('95th percentile'), number('peak'), ''], rows, 'nobody');
}

function showBill(bill, curve) {
  $('curve-of').textContent = `${bill.party}, ${bill.month}`;
  const values = curve.bytes.map((each) => each * 8 / curve.seconds);
  const start = curve.start * 1000;
  const end = start + values.length * curve.seconds * 1000;
  const p95 = bits(bill.p95_bits_per_s);
  $('curve').setAttribute('aria-label', `Five-minute means of ${bill.party} in ${bill.month}; 95th percentile ${p95}`);
  draw($('curve'), {values, start, step: curve.seconds * 1000, from: start, end, tick: DAY_MS, label: day,
    mark: {value: bill.p95_bits_per_s, text: `95th: ${p95}`}});
  fill($('bill'), null, [
    ['state', bill.signature ? `${bill.state}, signed ${bill.issued}` : `${bill.state}, as of now, not signed`],
    ['delivered', number(`${count(bill.bytes)} bytes`)],
    ['with corrections', number(`${count(bill.total_bytes)} bytes`)],
    ['95th percentile', number(`${p95} of ${count(bill.samples)} periods`)],
    ['complete', number(`${bill.completeness_percent} %, ${count(bill.missing_records)} records missing`)],
    ...(bill.accepted ? [['accepted', bill.accepted]] : []),
  ]);
  const entries = bill.corrections.flatMap((each) => each.entries.map((entry) => [each.month, entry.reference, entry.reason, number(count(entry.bytes))]));
  $('corrections-sum').textContent = entries.length ? `${count(bill.total_bytes - bill.bytes)} bytes` : '';
  fill($('corrections'), ['of', 'reference', 'reason', number('bytes')], entries, 'none');
}

function showHoles({holes}) {
  $('holes-count').textContent = holes.length > MOST_HOLES ? `the first of ${count(holes.length)}` : '';
  fill($('holes'), ['appliance', 'records', 'from', 'to', ''], holes.slice(0, MOST_HOLES).map((each) => [each.appliance,
    `${each.first} to ${each.last}`, moment(each.since), moment(each.until), each.tail ? 'silent' : 'missing']), 'nothing is missing');
}

// -- following ------------------------------------------------------------------------------------

async function show(found) {
  ledger = found;
  showLedger();
  if (!month && ledger.months.length) month = ledger.months.at(-1).month;
  if (!month) return;
  const {bills} = await call('GET', `/v1/bills?month=${month}`);
  showParties(bills);
  showHoles(await call('GET', `/v1/ledger/holes?month=${month}`));
  const bill = bills.find((each) => each.party === party) || bills.toSorted((a, b) => b.total_bytes - a.total_bytes)[0];
  if (!bill) return;
  party = bill.party;
  showBill(bill, await call('GET', `/v1/bills/${encodeURIComponent(party)}/${month}/curve`));
}

async function choose(chosenMonth, chosenParty) {
  [month, party] = [chosenMonth, chosenParty];
  await look(DOCUMENT, show).catch((error) => tell(error.message));
}

async function close(each) {
  await ask({
    question: `Close ${each.month}?`, consequence: `Its bills are issued and signed, and never change. ${count(each.missing)} records are missing, ${count(each.parked)} are parked.`,
    verb: 'Close', role: 'operate', fields: {reason: ''},
    act: ({reason}) => call('POST', '/v1/ledger/close', {month: each.month, accepted: reason}),
  });
  await choose(each.month, party);
}

lookForEver(DOCUMENT, show, EVERY_MS, (error) => error.message);
