// Tables whose rows stay the same elements while what they show changes: focus, selection and a screen reader's place
// survive each refresh. Nothing is ever made from text as HTML.

/// element("td", {class: "number", "data-name": "x"}, "text", otherElement)
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function button(text, label, act, kind = "") {
  const made = element("button", {type: "button", "aria-label": label, class: kind}, text);
  made.addEventListener("click", act);
  return made;
}

/// A column is {name, class?, text?(item), make?(row) -> {node, show?(item)}}; `row.item` is what the row shows now.
/// The table's place is an element with an id; the heading of its section has the id "ID-title".
export class Table {
  constructor(id, columns, {key, empty, caption}) {
    this.place = document.getElementById(id);
    this.heading = document.getElementById(`${id}-title`);
    this.columns = columns;
    this.key = key;
    this.rows = new Map();
    // The roles are said, since phones show rows as blocks, which would take them away.
    this.body = element("tbody", {role: "rowgroup"});
    const names = columns.map((column) =>
      element("th", {scope: "col", role: "columnheader", class: column.class ?? ""},
        column.hideName ? element("span", {class: "hidden"}, column.name) : column.name));
    this.table = element("table", {role: "table", "aria-label": caption},
      element("thead", {role: "rowgroup"}, element("tr", {role: "row"}, ...names)), this.body);
    this.nothing = empty;
    this.empty = element("p", {class: "empty"}, "…");  // until it is known
    this.place.append(this.table, this.empty);
    this.table.hidden = true;
  }

  show(items) {
    const wanted = new Set(items.map(this.key));
    for (const [key, row] of this.rows) {
      if (wanted.has(key)) continue;
      if (row.element.contains(document.activeElement)) this.heading.focus();
      row.element.remove();
      this.rows.delete(key);
    }
    let before = null;
    for (const item of items.toReversed()) {
      const row = this.rows.get(this.key(item)) ?? this.make(item);
      row.item = item;
      for (const cell of row.cells) cell(item);
      if (row.element.parentNode !== this.body || row.element.nextSibling !== before)
        this.body.insertBefore(row.element, before);
      before = row.element;
    }
    this.table.hidden = items.length === 0;
    this.empty.hidden = items.length > 0;
    write(this.empty, this.nothing);
  }

  make(item) {
    const row = {element: element("tr", {role: "row"}), item, cells: []};
    for (const column of this.columns) {
      const cell = element("td", {role: "cell", class: column.class ?? "", "data-name": column.name});
      if (column.text) {
        const text = element("span");
        cell.append(text);
        row.cells.push((now) => write(text, column.text(now)));
      } else {
        const {node, show} = column.make(row);
        cell.append(...[node].flat());
        if (show) row.cells.push(show);
      }
      row.element.append(cell);
    }
    this.rows.set(this.key(item), row);
    return row;
  }
}
