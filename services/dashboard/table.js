// A table whose rows change in place. NiceGUI's own compiles its cells' templates anew at every change, which loses the
// keyboard's focus; here Vue keeps every row and link that stays.
export default {
  template: `
    <p v-if="!rows.length" class="note">{{ empty }}</p>
    <table v-else class="table" :aria-label="label">
      <thead>
        <tr>
          <th v-for="column in columns" :key="column.name" scope="col" :class="{ 'wide-only': column.wide }">
            <abbr v-if="column.hint" :title="column.hint">{{ column.label }}</abbr>
            <template v-else>{{ column.label }}</template>
          </th>
        </tr>
      </thead>
      <tbody>
        <tr v-for="row in rows" :key="row.key">
          <td v-for="column in columns" :key="column.name" :class="{ 'wide-only': column.wide }">
            <a v-if="column.kind === 'link'" :href="row.href">{{ row[column.name] }}</a>
            <time v-else-if="column.kind === 'time'" :datetime="row[column.name]">{{ moment(row[column.name]) }}</time>
            <a v-else-if="column.kind === 'linked_time'" :href="row.href">
              <time :datetime="row[column.name]">{{ moment(row[column.name]) }}</time>
            </a>
            <component v-else-if="column.kind.endsWith('version')" :is="column.kind === 'version' || !row.href ? 'span' : 'a'"
              :href="row.href" class="version">
              <i :style="{ background: row.colour }"></i>{{ row[column.name] }}
            </component>
            <span v-else-if="column.kind === 'status'" class="pill" :data-status="row[column.name]">
              {{ row[column.name] }}
            </span>
            <template v-else-if="column.kind === 'bar'">
              <span class="bar"><i :style="{ width: row[column.share] }"></i></span><b>{{ row[column.name] }}</b>
            </template>
            <template v-else-if="column.kind === 'interval'">
              <span v-if="row.spread" class="interval">
                <i :style="{ left: row.left, width: row.spread, background: row.colour }"></i>
              </span>
              <span class="bounds wide-only">{{ row[column.name] }}</span>
            </template>
            <span v-else :class="{ quiet: row[column.name] === 'waiting' }">{{ row[column.name] }}</span>
            <span v-if="column.mark && row[column.mark]" class="pill">{{ row[column.mark] }}</span>
          </td>
        </tr>
      </tbody>
    </table>
  `,
  props: { label: String, columns: Array, rows: Array, empty: String },
  mounted() {
    this.reach();
    addEventListener("resize", this.reach);
  },
  updated() {
    this.reach();
  },
  unmounted() {
    removeEventListener("resize", this.reach);
  },
  methods: {
    // Where a table is wider than its card the keyboard scrolls it, too.
    reach() {
      const card = this.$el.parentElement?.closest(".card-body");
      if (card && card.scrollWidth > card.clientWidth) card.setAttribute("tabindex", "0");
      else card?.removeAttribute("tabindex");
    },
    // In the browser's time zone; the day stands there where it is not today.
    moment(iso) {
      if (!iso) return "";
      const time = new Date(iso);
      const today = time.toDateString() === new Date().toDateString();
      return time.toLocaleString([], { timeStyle: "medium", ...(today ? {} : { dateStyle: "medium" }) });
    },
  },
};
