"use strict";

const byId = (id) => document.getElementById(id);

/** The text that the page carries compressed in the element `id`. */
async function unpacked(id) {
  const bytes = Uint8Array.from(atob(byId(id).textContent.trim()), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

const data = JSON.parse(await unpacked("data"));
globalThis.report = data; // for the browser's console
