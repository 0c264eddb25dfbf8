// Sends a file as the body of a request, so that it is streamed on and never kept, and shows how far it is.
export default {
  template: `
    <form class="form" @submit.prevent="send">
      <label class="field"><span>Format</span>
        <select v-model="format">
          <option v-for="(name, value) in formats" :key="value" :value="value">{{ name }}</option>
        </select>
      </label>
      <label class="field"><span>File</span>
        <input ref="file" type="file" required accept=".json,.jsonl,.ndjson,.dsjson,.log,.txt" />
      </label>
      <button type="submit" class="button primary" :disabled="share !== null">Import</button>
      <label v-if="share !== null" class="field wide"><span>{{ Math.round(100 * share) }} % sent</span>
        <progress class="progress" max="1" :value="share" aria-label="Progress"></progress>
      </label>
    </form>
  `,
  props: { address: String, formats: Object },
  data() {
    return { format: Object.keys(this.formats)[0], share: null };
  },
  methods: {
    send() {
      const request = new XMLHttpRequest();
      request.open("POST", `${this.address}?format=${this.format}`);
      request.setRequestHeader("Content-Type", "application/x-ndjson");
      request.upload.onprogress = (event) => {
        if (event.lengthComputable) this.share = event.loaded / event.total;
      };
      request.onloadend = () => {
        this.share = null;
        this.$emit("done", request.responseText);
      };
      this.share = 0;
      request.send(this.$refs.file.files[0]);
    },
  },
};
