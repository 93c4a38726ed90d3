// What the appliance says comes as text into the page, never as markup: textContent alone.

const CELL = 'td';

function make(cell, tag, scope) {
  const made = document.createElement(tag);
  if (cell instanceof Node) {
    made.append(cell);
  } else {
    const {text, kind} = cell !== null && typeof cell === 'object' ? cell : {text: cell, kind: ''};
    made.textContent = text;
    if (kind) made.className = kind;
  }
  if (scope) made.scope = scope;
  return made;
}

function line(made) {
  const row = document.createElement('tr');
  row.append(...made);
  return row;
}

// rows: lists of cells, of which the first names the row; a cell is a text, a number, a node, or
// {text, kind}. nothing: what stands there when there are no rows.
export function fill(table, head, rows, nothing = 'none') {
  const body = rows.map(([name, ...cells]) =>
    line([make(name, 'th', 'row'), ...cells.map((cell) => make(cell, CELL))]));
  if (!rows.length) {
    table.replaceChildren(line([make({text: nothing, kind: 'quiet'}, CELL)]));
    return;
  }
  const top = head ? [line(head.map((cell) => make(cell, 'th', 'col')))] : [];
  table.replaceChildren(...top, ...body);
}

export const number = (text) => ({text, kind: 'number'});
