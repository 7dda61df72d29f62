// A CommonJS module whose default export esbuild would give to @grafana/ui inside another object.
export { Scrollbars as default } from "./node_modules/react-custom-scrollbars-2/lib/index.js";
