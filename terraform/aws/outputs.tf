locals {
  function_url = one([for live in aws_lambda_function_url.live : trimsuffix(live.function_url, "/")])
  rest_url     = one([for stage in aws_api_gateway_stage.live : local.rest_domain == null ? stage.invoke_url : "https://${local.rest_domain.domain_name}"])
  url          = coalesce(local.function_url, local.rest_url)

  console = "https://${var.region}.console.aws.amazon.com/cloudwatch/home?region=${var.region}#"
}

output "url" {
  description = "Where the function answers, without a slash at its end: its own URL, or else the REST API's."
  value       = local.url
}

output "openai_base_url" {
  description = "What a client of OpenAI's API takes as its base URL."
  value       = "${local.url}/v1"
}

output "create_first_key_command" {
  description = "Makes an app named first, and a key of it, which is shown once. The admin key is read from TF_VAR_admin_key."
  value = join(" && ", [for path, body in { "/manage/apps" = { id = "first" }, "/manage/apps/first/keys" = {} } :
    "curl --fail-with-body -sS ${local.url}${path} -H \"Authorization: Bearer $TF_VAR_admin_key\" -H 'Content-Type: application/json' -d '${jsonencode(body)}'"
  ])
}

output "logs_url" {
  description = "The function's logs in the cloud's console."
  value       = "${local.console}logsV2:log-groups/log-group/${replace(aws_cloudwatch_log_group.function.name, "/", "$252F")}"
}

output "dashboard_url" {
  description = "The dashboard in the cloud's console."
  value       = "${local.console}dashboards/dashboard/${aws_cloudwatch_dashboard.function.dashboard_name}"
}

output "function_name" {
  description = "What the cloud's own tools call the function."
  value       = aws_lambda_function.gateway.function_name
}

output "rest_url" {
  description = "Where the REST API answers, without a slash at its end; null without one."
  value       = local.rest_url
}

output "rest_domain_target" {
  description = "What the DNS record of rest_api.domain_name has to point to: name is for a CNAME, with zone_id for an alias in Route 53; null without a domain."
  value       = one([for domain in aws_api_gateway_domain_name.rest : { name = domain.regional_domain_name, zone_id = domain.regional_zone_id }])
}
