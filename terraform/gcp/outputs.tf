output "url" {
  description = "Where the service answers, without a slash at the end."
  value       = local.url
}

output "openai_base_url" {
  description = "What client apps give their OpenAI SDK as base_url."
  value       = "${local.url}/v1"
}

output "function_name" {
  description = "The function's name, which is its Cloud Run service's name too."
  value       = google_cloudfunctions2_function.this.name
}

output "create_first_key_command" {
  description = "Makes an app named first, and a key of it, which is shown once. The admin key is read from TF_VAR_admin_key."
  value = join(" && ", [for path, body in { "/manage/apps" = { id = "first" }, "/manage/apps/first/keys" = {} } :
    "curl --fail-with-body -sS ${local.url}${path} -H \"Authorization: Bearer $TF_VAR_admin_key\" -H 'Content-Type: application/json' -d '${jsonencode(body)}'"
  ])
}

output "logs_url" {
  description = "The logs in Google's console."
  value       = "https://console.cloud.google.com/logs/query;query=${urlencode(local.service_logs)};storageScope=storage,${urlencode("${local.log_bucket}/views/_AllLogs")}?project=${var.account}"
}

output "dashboard_url" {
  description = "The dashboard in Google's console."
  value       = "https://console.cloud.google.com/monitoring/dashboards/builder/${basename(google_monitoring_dashboard.this.id)}?project=${var.account}"
}
