// What the user keeps, in the browser's own store (IndexedDB): a record for each clip or beat, by its `id`.

const opening = new Promise((done) => {
  const request = indexedDB.open("micro-musicgen", 1);
  request.onupgradeneeded = () => request.result.createObjectStore("kept", { keyPath: "id" });
  request.onsuccess = () => done(request.result);
  request.onerror = () => done(null); // a private window: nothing outlives it
});

async function ask(mode, how) {
  const db = await opening;
  if (!db) return undefined;
  return new Promise((done, fail) => {
    const transaction = db.transaction("kept", mode),
      request = how(transaction.objectStore("kept"));
    transaction.oncomplete = () => done(request.result);
    transaction.onerror = transaction.onabort = () => fail(transaction.error);
  });
}

export const keep = (record) => ask("readwrite", (store) => store.put(record));
export const drop = (id) => ask("readwrite", (store) => store.delete(id));

/** All records of a kind, the oldest first. */
export async function kept(kind) {
  return ((await ask("readonly", (store) => store.getAll())) || [])
    .filter((one) => one.kind === kind)
    .sort((a, b) => a.at - b.at);
}
