// The views that the page and the studio share, each read when it is first shown.

export const KINDS = {
  sampler: { title: "Sampler", kind: "audio" },
  drums: { title: "Drums", kind: "drums" },
  notes: { title: "Notes", kind: "notes" },
  songs: { title: "Songs", kind: "song" },
};

/** Open a view in an element, for instruments of its kind. */
export async function viewOf(name, root, instruments) {
  if (name === "sampler") return new (await import("./sampler_view.js")).SamplerView(root, instruments);
  if (name === "drums") return new (await import("./drums_view.js")).DrumsView(root, instruments);
  const [{ ScoreView }, desk] = await Promise.all([
    import("./score_view.js"),
    name === "notes" ? import("./piece_desk.js") : import("./song_desk.js"),
  ]);
  return new ScoreView(root, instruments, desk.PieceDesk || desk.SongDesk);
}
