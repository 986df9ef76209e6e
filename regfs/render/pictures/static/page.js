// Draws the treemap and the forest of images from the data in this page. Text from a registry is
// only ever set as text.
"use strict";
(async () => {
  const at = (id) => document.getElementById(id);
  const packed = Uint8Array.from(atob(at("data").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const data = JSON.parse(await new Response(stream).text());

  const KINDS = ["registry", "repository", "tag", "untagged", "shared", "unreferenced", "uncertain"];
  const ROLES = { l: "layer", c: "config", m: "manifest", b: "blob" };
  const BINS = [[0, "nothing"], [1, "1"], [2, "2"], [3, "3 to 5"], [6, "6 to 20"], [21, "more"]];
  const WIDEST = 400; // cells beside each other; the smaller ones are drawn as one
  const INNER = 120; // the same, inside of one of them
  const ROWS = 100; // of the table, until more are asked for
  const CHILDREN = 15; // of a member of the forest, likewise

  // -- words ---------------------------------------------------------------------------------

  const count = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many || one + "s"}`;

  function size(bytes) {
    const base = data.binary ? 1024 : 1000;
    const units = data.binary ? ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] : ["B", "kB", "MB", "GB", "TB", "PB"];
    let value = bytes;
    let unit = 0;
    while (value >= 999.5 && unit < units.length - 1) {
      value /= base;
      unit += 1;
    }
    return unit ? `${Number(value.toPrecision(3))} ${units[unit]}` : `${bytes} B`;
  }

  function share(bytes) {
    const part = top.bytes ? (100 * bytes) / top.bytes : 0;
    return part && part < 0.1 ? "< 0.1%" : `${part.toFixed(part < 9.95 ? 1 : 0)}%`;
  }

  function bin(users) {
    let found = 0;
    BINS.forEach(([least], place) => { if (users >= least) found = place; });
    return found;
  }

  // -- the areas -----------------------------------------------------------------------------

  const areas = [];
  let leaf = 0;
  let place = 0;
  const top = unpack(null);
  top.name = "everything";

  function unpack(parent) {
    const a = data.areas;
    const here = place++;
    const node = {
      kind: KINDS[a.kind[here]], name: a.name[here], users: a.users[here], parent, inside: [],
      first: 0, leaves: a.leaves[here], rest: a.rest[here], restBytes: a.restBytes[here], bytes: 0, blobs: 0,
    };
    areas.push(node);
    for (let left = a.areas[here]; left > 0; left--) node.inside.push(unpack(node));
    node.first = leaf;
    leaf += node.leaves;
    node.bytes = node.restBytes + node.inside.reduce((sum, one) => sum + one.bytes, 0);
    node.blobs = node.rest + node.leaves + node.inside.reduce((sum, one) => sum + one.blobs, 0);
    for (let n = node.first; n < leaf; n++) node.bytes += data.blobs.size[n];
    return node;
  }

  function blob(number, parent) {
    const b = data.blobs;
    const made = b.made[number];
    const digest = b.digest.slice(12 * number, 12 * number + 12);
    return {
      kind: ROLES[b.role[number]], name: made < 0 ? `${ROLES[b.role[number]]} ${digest}` : data.made[made],
      digest, users: b.users[number], homes: b.homes[number], parent, inside: [], leaves: 0, rest: 0,
      bytes: b.size[number], blobs: 1, number,
    };
  }

  function children(node) {
    if (!node.children) {
      node.children = [...node.inside];
      for (let n = 0; n < node.leaves; n++) node.children.push(blob(node.first + n, node));
      if (node.rest) {
        node.children.push({
          kind: "rest", name: count(node.rest, "smaller blob"), users: node.users, parent: node,
          inside: [], leaves: 0, rest: 0, bytes: node.restBytes, blobs: node.rest,
        });
      }
      node.children.sort((a, b) => b.bytes - a.bytes);
    }
    return node.children;
  }

  const opens = (node) => node.inside.length + node.leaves + node.rest > 0 || node.hidden !== undefined;
  const title = (node) => node.kind === "shared" && !node.name ? "shared by repositories" : node.name || node.kind;

  function needed(node) {
    if (node.kind === "unreferenced") return "nothing";
    if (node.kind === "uncertain") return "what cannot be read, perhaps";
    if (node.digest) return node.users ? count(node.users, "tag") + (node.homes > 1 ? ` in ${count(node.homes, "repository", "repositories")}` : "") : "nothing";
    if (node.kind === "shared" && node.users) {
      const many = node.parent.kind === "repository" ? count(node.users, "tag") : count(node.users, "repository", "repositories");
      return /other groups/.test(node.name) ? `${many} or more` : many;
    }
    return { tag: "this tag alone", untagged: "untagged images alone", repository: "this repository alone" }[node.kind] || "";
  }

  // -- the treemap ---------------------------------------------------------------------------

  let focus = top;
  let marked = null;
  const svg = d3.select("#map");

  // The largest children, and the others as one.
  function drawn(node, most) {
    const every = children(node).filter((one) => one.bytes > 0);
    if (every.length <= most) return every;
    const rest = every.slice(most);
    const bytes = rest.reduce((sum, one) => sum + one.bytes, 0);
    const blobs = rest.reduce((sum, one) => sum + one.blobs, 0);
    return [...every.slice(0, most), {
      kind: "rest", name: count(rest.length, "smaller one"), users: rest[0].users, parent: node, inside: [],
      leaves: 0, rest: 0, bytes, blobs, children: rest, hidden: new Set(rest),
    }];
  }

  function drawMap() {
    const width = Math.max(320, at("map").clientWidth);
    const height = focus.bytes ? Math.max(320, Math.min(720, Math.round(window.innerHeight * 0.62))) : 0;
    svg.attr("viewBox", `0 0 ${width} ${height}`).attr("height", height);
    const tree = { node: focus, kids: drawn(focus, WIDEST).map((node) => ({
      node, kids: opens(node) ? drawn(node, INNER).map((inner) => ({ node: inner })) : null,
    })) };
    const root = d3.hierarchy(tree, (one) => one.kids).sum((one) => (one.kids ? 0 : one.node.bytes));
    d3.treemap().size([width, height]).paddingInner(1)
      .paddingTop((one) => (one.depth === 1 && one.children ? 19 : 0))
      .paddingLeft((one) => (one.depth === 1 && one.children ? 2 : 0))
      .paddingRight((one) => (one.depth === 1 && one.children ? 2 : 0))
      .paddingBottom((one) => (one.depth === 1 && one.children ? 2 : 0)).round(true)(root);
    const boxes = root.descendants().filter((one) => one.depth && one.x1 - one.x0 > 1 && one.y1 - one.y0 > 1);
    svg.selectAll("g").remove();
    const cells = svg.selectAll("g").data(boxes).join("g")
      .attr("class", (one) => (one.children ? "cell group" : "cell"))
      .classed("found", (one) => marked !== null && (one.data.node === marked || (one.data.node.hidden || new Set()).has(marked)))
      .attr("transform", (one) => `translate(${one.x0},${one.y0})`)
      .attr("role", "button").attr("tabindex", (_, n) => (n ? -1 : 0))
      .attr("aria-label", (one) => spoken(one.data.node))
      .on("click", (_, one) => choose(one.data.node))
      .on("mouseenter", (_, one) => tell(one.data.node))
      .on("focus", function (_, one) {
        cells.attr("tabindex", -1);
        d3.select(this).attr("tabindex", 0);
        tell(one.data.node);
      })
      .on("keydown", (event, one) => pressed(event, one, boxes, cells));
    cells.append("rect").attr("width", (one) => one.x1 - one.x0).attr("height", (one) => one.y1 - one.y0)
      .attr("class", (one) => (one.children ? null : `b${bin(one.data.node.users)}`));
    cells.filter((one) => one.x1 - one.x0 > 34 && one.y1 - one.y0 > 17).append("text")
      .attr("x", 4).attr("y", 14)
      .attr("class", (one) => (one.children ? null : `x${bin(one.data.node.users)}`))
      .text((one) => heading(one, one.x1 - one.x0));
    cells.filter((one) => !one.children && one.x1 - one.x0 > 60 && one.y1 - one.y0 > 32).append("text")
      .attr("x", 4).attr("y", 29).attr("class", (one) => `x${bin(one.data.node.users)}`)
      .text((one) => size(one.data.node.bytes));
    drawCrumbs();
    drawTable();
  }

  function heading(one, width) {
    const name = title(one.data.node);
    const bytes = one.children ? `  ${size(one.data.node.bytes)}` : "";
    const whole = cut(name + bytes, width * 0.95);
    return whole === name + bytes ? whole : cut(name, one.children ? width * 0.9 : width);
  }

  const cut = (text, width) => {
    const most = Math.floor((width - 8) / 6.7);
    if (text.length <= most || most < 3) return text.length <= most ? text : "";
    // What tells paths apart is at their end.
    return text.includes("/") && !text.includes(" ") ? `…${text.slice(1 - most)}` : `${text.slice(0, most - 1)}…`;
  };

  const spoken = (node) => [title(node), size(node.bytes), share(node.bytes), needed(node) && `needed by ${needed(node)}`,
    opens(node) ? "opens" : ""].filter(Boolean).join(", ");

  function choose(node) {
    if (opens(node)) zoom(node);
    else tell(node);
  }

  function zoom(node, mark = null, move = true) {
    focus = node;
    marked = mark;
    drawMap();
    tell(mark || node);
    if (move) {
      const first = svg.select(".found").empty() ? svg.select(".cell") : svg.select(".found");
      if (!first.empty()) first.node().focus();
    }
  }

  function pressed(event, one, boxes, cells) {
    const go = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Enter" || event.key === " ") choose(one.data.node);
    else if (event.key === "Escape" || event.key === "Backspace") { if (focus.parent) zoom(focus.parent); }
    else if (event.key === "Home") cells.nodes()[0].focus();
    else if (go) {
      const middle = (box) => [(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2];
      const [x, y] = middle(one);
      let best = -1;
      let least = Infinity;
      boxes.forEach((box, n) => {
        const [dx, dy] = [middle(box)[0] - x, middle(box)[1] - y];
        const ahead = dx * go[0] + dy * go[1];
        const aside = Math.abs(dx * go[1]) + Math.abs(dy * go[0]);
        if (box !== one && ahead > 0.5 && ahead + 3 * aside < least) [best, least] = [n, ahead + 3 * aside];
      });
      if (best >= 0) cells.nodes()[best].focus();
    } else return;
    event.preventDefault();
  }

  function drawCrumbs() {
    const path = [];
    for (let node = focus; node; node = node.parent) path.unshift(node);
    d3.select("#crumbs").selectAll("li").data(path).join("li").selectAll("button").data((one) => [one]).join("button")
      .attr("type", "button").attr("aria-current", (one) => (one === focus ? "location" : null))
      .text(title).on("click", (_, one) => zoom(one));
  }

  function tell(node) {
    const lines = d3.select("#details");
    lines.selectAll("*").remove();
    lines.append("strong").text(node.digest && node.name !== `${node.kind} ${node.digest}` ? node.name : title(node));
    const facts = top.blobs ? [size(node.bytes), `${share(node.bytes)} of everything`] : ["nothing is stored here yet"];
    if (needed(node)) facts.push(`needed by ${needed(node)}`);
    if (!node.digest && top.blobs) facts.push(count(node.blobs, "blob"));
    lines.append("div").text(facts.join(" · "));
    if (node.digest) {
      const line = lines.append("div");
      line.append("span").text(`${node.kind} ${node.digest}, `);
      line.append("code").text(`regfs why ${node.digest}`);
    }
  }

  let rows = ROWS;
  function drawTable(more = false) {
    rows = more ? rows + ROWS : ROWS;
    const every = children(focus);
    const body = d3.select("#table tbody");
    body.selectAll("tr").remove();
    const line = body.selectAll("tr").data(every.slice(0, rows)).join("tr");
    line.append("td").each(function (one) {
      const cell = d3.select(this);
      if (opens(one)) cell.append("button").attr("type", "button").text(title(one)).on("click", () => zoom(one));
      else cell.text(one.digest && one.name !== `${one.kind} ${one.digest}` ? `${one.digest}  ${one.name}` : title(one));
    });
    line.append("td").attr("class", "n").text((one) => size(one.bytes));
    line.append("td").attr("class", "n").text((one) => share(one.bytes));
    line.append("td").text(needed);
    line.append("td").attr("class", "n").text((one) => one.blobs.toLocaleString("en"));
    d3.select("#table caption").text(`What is in ${title(focus)}: ${count(every.length, "row")}, ${size(focus.bytes)}`);
    d3.select("#more").attr("hidden", every.length > rows ? null : "").text(`Show more of ${every.length.toLocaleString("en")}`);
  }
  at("more").addEventListener("click", () => drawTable(true));

  // -- the forest ----------------------------------------------------------------------------

  const m = data.members;
  const members = m.base.map((_, n) => ({ n, names: m.names[n], children: [], shown: CHILDREN, open: false, parent: null }));
  const forest = { children: [], shown: 40, open: true, parent: null, level: 0 };
  members.forEach((one) => {
    one.parent = m.base[one.n] < 0 ? forest : members[m.base[one.n]];
    one.level = one.parent.level + 1;
    one.parent.children.push(one);
  });
  for (let n = members.length - 1; n >= 0; n--) {
    const one = members[n];
    one.above = one.children.reduce((sum, child) => sum + child.above + 1, 0);
  }
  let room = 60;
  for (const one of members) {
    if (room < 0) break;
    if (one.level <= 3 && one.children.length) {
      one.open = true;
      room -= Math.min(one.children.length, CHILDREN);
    }
  }

  const called = (one) => (one.names.length ? one.names[0].length > 100 ? `${one.names[0].slice(0, 60)}…${one.names[0].slice(-36)}` : one.names[0]
    : `(${count(m.layers[one.n], "layer")} that ${count(one.children.length, "image")} begin with)`);
  function says(one) {
    const facts = [];
    if (one.names.length > 1) facts.push(`and ${one.names.length - 1} with the same layers`);
    if (m.squashed[one.n]) facts.push("squashed");
    facts.push(`${one.level > 1 ? "+ " : ""}${count(m.ownLayers[one.n], "layer")}, ${size(m.ownBytes[one.n])}`);
    if (one.level === 1 && m.baseName[one.n]) facts.push(`base ${m.baseName[one.n]}, which is not here`);
    if (one.above && !one.open) facts.push(`${count(one.above, "image")} built on it`);
    return facts.join(" · ");
  }

  let found = null;
  function drawForest(focused = null) {
    const lines = [];
    (function walk(node) {
      if (!node.open) return;
      node.children.slice(0, node.shown).forEach((one) => { lines.push({ one, level: one.level }); walk(one); });
      if (node.children.length > node.shown) lines.push({ more: node, level: node.level + 1 });
    })(forest);
    const [step, height] = [22, 22];
    const chart = d3.select("#forest svg").attr("height", lines.length * height + 8);
    chart.selectAll("*").remove();
    lines.forEach((line, n) => { line.y = n * height + height / 2 + 4; line.x = line.level * step; if (line.one) line.one.y = line.y; });
    chart.selectAll("path").data(lines.filter((line) => line.level > 1)).join("path").attr("class", "link")
      .attr("d", (line) => `M${line.x - step},${(line.more || line.one.parent).y + 6}V${line.y}H${line.x - 6}`);
    const radius = d3.scaleSqrt().domain([0, d3.max(m.ownBytes) || 1]).range([3, 9]);
    const items = chart.selectAll("g").data(lines).join("g").attr("class", "member")
      .classed("beginning", (line) => line.more || !line.one.names.length)
      .classed("found", (line) => line.one && line.one === found)
      .attr("role", "treeitem").attr("aria-level", (line) => line.level).attr("tabindex", (_, n) => (n ? -1 : 0))
      .attr("aria-expanded", (line) => (line.one && line.one.children.length ? String(line.one.open) : null))
      .attr("transform", (line) => `translate(${line.x},${line.y})`)
      .on("click", (_, line) => toggle(line))
      .on("focus", function () { items.attr("tabindex", -1); d3.select(this).attr("tabindex", 0); })
      .on("keydown", (event, line) => {
        const here = lines.indexOf(line);
        const move = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: lines.length - 1 }[event.key];
        if (move !== undefined) { if (items.nodes()[move]) items.nodes()[move].focus(); }
        else if (event.key === "Enter" || event.key === " ") toggle(line);
        else if (event.key === "ArrowRight" && line.one && !line.one.open && line.one.children.length) toggle(line);
        else if (event.key === "ArrowLeft" && line.one && line.one.open) toggle(line);
        else if (event.key === "ArrowLeft" && line.one && line.one.parent !== forest) drawForest(line.one.parent);
        else return;
        event.preventDefault();
      });
    items.append("rect").attr("x", -11).attr("y", -10).attr("width", 1000).attr("height", 20);
    items.filter((line) => line.one).append("circle").attr("r", (line) => radius(m.ownBytes[line.one.n]));
    const text = items.append("text").attr("x", 13).attr("y", 4);
    text.append("tspan").text((line) => (line.more ? `${count(line.more.children.length - line.more.shown, "more image")}: show` : called(line.one)));
    text.filter((line) => line.one).append("tspan").attr("class", "more").attr("dx", 10).text((line) => says(line.one));
    items.filter((line) => line.one && line.one.children.length).select("tspan")
      .text((line) => `${line.one.open ? "▾" : "▸"} ${called(line.one)}`);
    if (focused) {
      const there = lines.findIndex((line) => line.one === focused);
      if (there >= 0) items.nodes()[there].focus();
    }
  }

  function toggle(line) {
    if (line.more) {
      const next = line.more.children[line.more.shown];
      line.more.shown += 100;
      drawForest(next);
    } else {
      line.one.open = !line.one.open && line.one.children.length > 0;
      drawForest(line.one);
    }
  }

  function showMember(one) {
    found = one;
    for (let child = one, node = one.parent; node; child = node, node = node.parent) {
      node.open = true;
      node.shown = Math.max(node.shown, node.children.indexOf(child) + 1);
    }
    show("images");
    drawForest(one);
  }

  // -- views and search ----------------------------------------------------------------------

  function show(view) {
    for (const name of ["bytes", "images"]) {
      at(`view-${name}`).hidden = name !== view;
      at(`to-${name}`).setAttribute("aria-pressed", String(name === view));
    }
    if (view === "bytes") drawMap();
    else drawForest();
  }
  at("to-bytes").addEventListener("click", () => show("bytes"));
  at("to-images").addEventListener("click", () => show("images"));

  function search(words) {
    const wanted = words.trim().toLowerCase().replace(/^sha256:/, "");
    const hits = [];
    const take = (what, go) => { if (hits.length < 60) hits.push({ what, go }); };
    if (wanted.length < 2) return hits;
    for (const one of areas) {
      if (one !== top && one.name.toLowerCase().includes(wanted)) take(`${one.kind} ${one.parent !== top && one.kind !== "shared" ? `${title(one.parent)}:` : ""}${title(one)}, ${size(one.bytes)}`, () => { show("bytes"); zoom(one); });
    }
    members.forEach((one) => {
      const name = one.names.find((text) => text.toLowerCase().includes(wanted));
      if (name !== undefined) take(`image ${name}`, () => showMember(one));
    });
    if (/^[0-9a-f]{4,}$/.test(wanted)) {
      const prefix = wanted.slice(0, 12);
      for (let n = data.blobs.digest.indexOf(prefix); n >= 0; n = data.blobs.digest.indexOf(prefix, n + 1)) {
        if (n % 12 === 0) takeBlob(n / 12);
      }
    }
    data.made.forEach((text, which) => {
      if (hits.length < 60 && text.toLowerCase().includes(wanted)) takeBlob(data.blobs.made.indexOf(which));
    });
    return hits;

    function takeBlob(number) {
      const area = areas.find((one) => number >= one.first && number < one.first + one.leaves);
      const one = children(area).find((child) => child.number === number);
      take(`${one.kind} ${one.digest}, ${size(one.bytes)}: ${one.name}`, () => { show("bytes"); zoom(area, one); });
    }
  }

  at("search").addEventListener("input", () => {
    const hits = search(at("search").value);
    d3.select("#results").selectAll("li").remove();
    d3.select("#results").selectAll("li").data(hits).join("li").append("button").attr("type", "button")
      .text((hit) => hit.what).on("click", (_, hit) => {
        d3.select("#results").selectAll("li").remove();
        hit.go();
      });
    at("hits").textContent = at("search").value.trim().length < 2 ? "" : hits.length >= 60 ? "60 results or more" : count(hits.length, "result");
  });

  d3.select("#legend").selectAll("li").data(["Tags that need it:", ...BINS]).join("li").each(function (one, n) {
    if (n) d3.select(this).append("i").attr("class", `b${n - 1}`);
    d3.select(this).append("span").text(n ? one[1] : one);
  });
  window.addEventListener("resize", () => { if (!at("view-bytes").hidden) drawMap(); });
  at("tools").hidden = false;
  show("bytes");
  tell(top);
})();
